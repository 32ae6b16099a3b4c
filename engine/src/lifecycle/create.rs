//! Making a container: everything that can be seen to be wrong is said here, before anything exists.

use std::path::PathBuf;

use jiff::Timestamp;
use rvm_vmm::config::MIN_MEMORY_MIB;

use super::Engine;
use crate::container::{Container, NetworkMode, Settings};
use crate::id::ContainerId;
use crate::image::{ImageError, Images};
use crate::microvm::{self, ArtifactError, Artifacts, HostError};
use crate::name::Name;
use crate::options::cpus::Cpus;
use crate::options::env::Setting;
use crate::options::memory::Memory;
use crate::options::port::Publish;
use crate::options::signal::{InvalidSignal, Signal};
use crate::spec::process::{self, NoCommand};
use crate::state::DatabaseError;

/// The memory of a container that doesn't say.
pub const DEFAULT_MEMORY: Memory = Memory::mib(256);

/// How often a random name is tried before numbers are added.
const NAME_TRIES: usize = 8;

/// The longest host name that the kernel takes, in bytes.
const HOSTNAME_LIMIT: usize = 64;

/// A container that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The image's reference.
    pub image: String,
    /// The command and its arguments; empty for the image's own.
    pub command: Vec<String>,
    /// The name; random without.
    pub name: Option<Name>,
    /// In place of the image's entry point.
    pub entrypoint: Option<String>,
    /// Changes to the environment.
    pub env: Vec<Setting>,
    /// In place of the image's working folder.
    pub working_dir: Option<String>,
    /// In place of the image's user.
    pub user: Option<String>,
    /// In place of the id's beginning.
    pub hostname: Option<String>,
    /// The process gets a terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub open_stdin: bool,
    /// Remove the container when it has ended.
    pub auto_remove: bool,
    /// The root file system can't be written.
    pub read_only: bool,
    /// Memory; [`DEFAULT_MEMORY`] without.
    pub memory: Option<Memory>,
    /// Processors; one without.
    pub cpus: Option<Cpus>,
    /// How to connect it.
    pub network: NetworkMode,
    /// Ports to publish.
    pub publish: Vec<Publish>,
    /// In place of the installed kernel.
    pub kernel: Option<PathBuf>,
}

/// Why a container is not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Too little memory.
    #[error(
        "Minimum memory limit allowed is {MIN_MEMORY_MIB}m: a guest's kernel and the container need that much"
    )]
    TooLittleMemory,
    /// More memory than there is.
    #[error(
        "the host has {host} MiB of memory, and {asked} MiB were asked for: give less with --memory"
    )]
    TooMuchMemory {
        /// Of the host, in MiB.
        host: u64,
        /// Asked for, in MiB.
        asked: u64,
    },
    /// The working folder is not absolute.
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    WorkingDir(String),
    /// The host name is not one.
    #[error(
        "invalid hostname '{0}': it has letters, digits, hyphens and dots, {HOSTNAME_LIMIT} at most"
    )]
    Hostname(String),
    /// Ports without a network.
    #[error(
        "a container without a network (--network none) can't publish ports: leave out --network or --publish"
    )]
    PortsWithoutNetwork,
    /// The image's stop signal.
    #[error("the image's StopSignal is not usable")]
    StopSignal(#[source] InvalidSignal),
    /// Nothing to run.
    #[error(transparent)]
    NoCommand(#[from] NoCommand),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The host can't.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A file of the microVM is missing.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The database, or a name that is taken.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// No random bytes.
    #[error("the kernel gives no random bytes")]
    Random(#[source] rustix::io::Errno),
}

impl Engine {
    /// Makes a container.
    pub fn create(&self, request: Request) -> Result<Container, CreateError> {
        check(&request)?;
        let images = Images::open(&self.root)?;
        // Until the container is in the database, nobody removes its image.
        let _hold = images.store().hold_names(false).map_err(ImageError::from)?;
        let image = images.resolve(&request.image)?;
        let name = request.name.clone();
        let id = ContainerId::random().map_err(CreateError::Random)?;
        let settings = settings(
            &id,
            request,
            image.id.to_string(),
            image.config.config().as_ref(),
        )?;
        self.insert(&id, name, &settings)?;
        Ok(self
            .database
            .get(&id)?
            .ok_or_else(|| DatabaseError::Content {
                what: "container",
                text: id.to_string(),
            })?)
    }

    fn insert(
        &self,
        id: &ContainerId,
        name: Option<Name>,
        settings: &Settings,
    ) -> Result<(), CreateError> {
        let created = Timestamp::now();
        if let Some(name) = name {
            return Ok(self.database.insert(id, &name, settings, created)?);
        }
        for number in 0.. {
            let random = Name::random().map_err(CreateError::Random)?;
            let name = if number < NAME_TRIES {
                random
            } else {
                random.numbered(number)
            };
            match self.database.insert(id, &name, settings, created) {
                Err(DatabaseError::NameTaken { .. }) => {}
                result => return Ok(result?),
            }
        }
        Ok(())
    }
}

fn check(request: &Request) -> Result<(), CreateError> {
    let memory = request.memory.unwrap_or(DEFAULT_MEMORY).whole_mib();
    let host = microvm::memory_mib();
    if memory < MIN_MEMORY_MIB {
        return Err(CreateError::TooLittleMemory);
    }
    if memory > host {
        return Err(CreateError::TooMuchMemory {
            host,
            asked: memory,
        });
    }
    if let Some(folder) = &request.working_dir
        && !folder.starts_with('/')
    {
        return Err(CreateError::WorkingDir(folder.clone()));
    }
    if let Some(hostname) = &request.hostname
        && !is_hostname(hostname)
    {
        return Err(CreateError::Hostname(hostname.clone()));
    }
    if request.network == NetworkMode::None && !request.publish.is_empty() {
        return Err(CreateError::PortsWithoutNetwork);
    }
    microvm::open_kvm()?;
    Artifacts::find(request.kernel.as_deref())?.open_kernel()?;
    Ok(())
}

fn is_hostname(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= HOSTNAME_LIMIT
        && text.bytes().all(allowed)
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

fn settings(
    id: &ContainerId,
    request: Request,
    image_id: String,
    image: Option<&oci_spec::image::Config>,
) -> Result<Settings, CreateError> {
    let text = |value: Option<&String>| value.filter(|text| !text.is_empty()).cloned();
    let hostname = request.hostname.unwrap_or_else(|| id.short().to_owned());
    let stop_signal = match image.and_then(|image| text(image.stop_signal().as_ref())) {
        Some(signal) => signal.parse().map_err(CreateError::StopSignal)?,
        None => Signal::TERM,
    };
    Ok(Settings {
        args: process::args(image, request.entrypoint.as_deref(), &request.command)?,
        env: process::environment(image, &hostname, request.tty, &request.env),
        working_dir: request
            .working_dir
            .or_else(|| image.and_then(|image| text(image.working_dir().as_ref())))
            .unwrap_or_else(|| "/".to_owned()),
        user: request
            .user
            .or_else(|| image.and_then(|image| text(image.user().as_ref())))
            .unwrap_or_default(),
        exposed: image
            .and_then(|image| image.exposed_ports().clone())
            .unwrap_or_default(),
        image: request.image,
        image_id,
        hostname,
        tty: request.tty,
        open_stdin: request.open_stdin,
        auto_remove: request.auto_remove,
        read_only: request.read_only,
        memory: request.memory.unwrap_or(DEFAULT_MEMORY),
        cpus: request.cpus.unwrap_or(Cpus::ONE),
        stop_signal,
        network: request.network,
        publish: request.publish,
        kernel: request
            .kernel
            .map(|kernel| std::path::absolute(&kernel).unwrap_or(kernel)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_checked() {
        for good in ["web", "a.b-c", "9"] {
            assert!(is_hostname(good), "{good}");
        }
        for bad in ["", "-a", "a b", "a/b", "a\n", &"x".repeat(65)] {
            assert!(!is_hostname(bad), "{bad}");
        }
    }
}
