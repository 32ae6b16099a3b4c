//! Changing what a container may take, and when it is started again.

use rvm_vmm::config::MIN_MEMORY_MIB;

use super::Engine;
use crate::container::{Container, Settings, State};
use crate::microvm;
use crate::monitor::protocol::Request;
use crate::monitor_client::{self, ClientError};
use crate::options::isolation::Isolation;
use crate::options::limits::Limits;
use crate::options::restart::RestartPolicy;
use crate::rootless::{self, RootlessError};
use crate::state::DatabaseError;

/// A change that is asked for; what is not given stays.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Limits.
    pub limits: Limits,
    /// When it is started again.
    pub restart: Option<RestartPolicy>,
}

/// Why a container was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// A running guest does not grow.
    #[error(
        "container {id} has a microVM of {has} MiB while it runs, and {asked} MiB were asked for: stop it first"
    )]
    Memory {
        /// Which.
        id: String,
        /// The guest's memory.
        has: u64,
        /// What was asked for.
        asked: u64,
    },
    /// A running guest does not get processors.
    #[error(
        "container {id} has a microVM of {has} CPUs while it runs, and more were asked for: stop it first"
    )]
    Cpus {
        /// Which.
        id: String,
        /// The guest's processors.
        has: u8,
    },
    /// Less than a guest needs.
    #[error("Minimum memory limit allowed is {0}m")]
    TooLittleMemory(u64),
    /// More than the host has.
    #[error("the host has {0} MiB of memory: give less with --memory")]
    TooMuchMemory(u64),
    /// A container can't be removed and started again.
    #[error("Restart policy cannot be updated because AutoRemove is enabled for the container")]
    AutoRemove,
    /// There is nothing to limit it with.
    #[error(transparent)]
    Rootless(#[from] RootlessError),
    /// Somebody removes it.
    #[error("container is marked for removal and cannot be updated")]
    Removing,
    /// The monitor.
    #[error(transparent)]
    Monitor(#[from] ClientError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Engine {
    /// Changes a container's limits, at once if it runs, and its restart policy.
    pub fn update(&self, container: &Container, update: &Update) -> Result<(), UpdateError> {
        let id = container.id.to_string();
        if container.state == State::Starting {
            self.wait_started(container);
        }
        let Some(container) = &self.database.get(&container.id)? else {
            return Err(UpdateError::Removing);
        };
        if matches!(container.state, State::Removing | State::Dead) {
            return Err(UpdateError::Removing);
        }
        let mut settings = container.settings.clone();
        if update.limits != Limits::default() && rootless::applies_to(&settings) {
            return Err(RootlessError::Limits.into());
        }
        if let Some(policy) = update.restart {
            if settings.auto_remove && policy != RestartPolicy::No {
                return Err(UpdateError::AutoRemove);
            }
            settings.restart = policy;
        }
        merge(&mut settings.limits, &update.limits);
        if settings.isolation == Isolation::Container {
            // There is no guest that could be too small.
        } else if container.state.is_active() {
            within(&id, &settings, &update.limits)?;
        } else {
            rebuild(&mut settings, &update.limits)?;
        }
        let files = update.limits.files();
        if container.state.has_process() && !files.is_empty() {
            let balloon_mib = update.limits.memory.map(|_| balloon_mib(&settings));
            let request = Request::Limit { files, balloon_mib };
            monitor_client::request(&self.root.container(&container.id), &request)?;
        }
        Ok(self.database.set_settings(&container.id, &settings)?)
    }
}

fn merge(limits: &mut Limits, more: &Limits) {
    limits.cpus = more.cpus.or(limits.cpus);
    limits.cpu_shares = more.cpu_shares.or(limits.cpu_shares);
    limits.memory = more.memory.or(limits.memory);
    limits.memory_reservation = more.memory_reservation.or(limits.memory_reservation);
    limits.pids = more.pids.or(limits.pids);
}

/// A guest that runs has what it has: limits are possible below that.
fn within(id: &str, settings: &Settings, limits: &Limits) -> Result<(), UpdateError> {
    let id = id.to_owned();
    if let Some(memory) = limits.memory.filter(|memory| *memory > settings.memory) {
        return Err(UpdateError::Memory {
            id,
            has: settings.memory.whole_mib(),
            asked: memory.whole_mib(),
        });
    }
    let has = settings.cpus.vcpus();
    if limits.cpus.is_some_and(|cpus| cpus.vcpus() > has) {
        return Err(UpdateError::Cpus { id, has });
    }
    Ok(())
}

/// What the host gets back of a guest whose container may take less than it has. The guest keeps for itself what the smallest guest has.
fn balloon_mib(settings: &Settings) -> u64 {
    let container = settings.limits.memory.unwrap_or(settings.memory);
    let kept = container.whole_mib().saturating_add(MIN_MEMORY_MIB);
    settings.memory.whole_mib().saturating_sub(kept)
}

/// The next guest is made to measure.
fn rebuild(settings: &mut Settings, limits: &Limits) -> Result<(), UpdateError> {
    if let Some(memory) = limits.memory {
        let host = microvm::memory_mib();
        if memory.whole_mib() < MIN_MEMORY_MIB {
            return Err(UpdateError::TooLittleMemory(MIN_MEMORY_MIB));
        }
        if memory.whole_mib() > host {
            return Err(UpdateError::TooMuchMemory(host));
        }
        settings.memory = memory;
        settings.limits.memory = None;
    }
    if let Some(cpus) = limits.cpus {
        settings.cpus = cpus;
        settings.limits.cpus = None;
    }
    Ok(())
}
