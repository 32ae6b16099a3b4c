//! Saving a running container as a checkpoint, and going on from one.

use std::fs::File;
use std::time::Duration;

use rvm_agent_protocol::{FailureKind, Request};

use super::shared::{GuestError, Shared};
use crate::checkpoint::{About, CheckpointError, Checkpoints};
use crate::enclosure::Brake;
use crate::error::chain;
use crate::event::Attributes;
use crate::id::ContainerId;
use crate::microvm::{Agent, AgentError, Artifacts};
use crate::name::Name;
use crate::root::Root;
use crate::state::Database;
use crate::template::artifacts_digest;

/// How often the guest is asked to be quiet: as long as an attached client does not read, output stays on its way.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// A container that was saved, and stands still.
pub struct Saved {
    agent: Agent,
    id: String,
}

impl Saved {
    /// Lets the container stand still, and saves it.
    pub fn make(
        root: &Root,
        database: &Database,
        id: &ContainerId,
        shared: &Shared,
        name: &Name,
    ) -> Result<Self, GuestError> {
        let folder = root.container(id);
        let checkpoints = Checkpoints::of(&folder, id);
        checkpoints.check_free(name)?;
        let brake = shared.brake()?;
        let Brake::Vcpus(controller) = &*brake else {
            return Err(CheckpointError::NoMicroVm(id.to_string()).into());
        };
        let paused = shared.paused();
        if *paused {
            return Err(GuestError::PausedCheckpoint(id.to_string()));
        }
        let container = database.get(id)?.ok_or(GuestError::NotRunning)?;
        let pid = container.pid.ok_or(GuestError::NotRunning)?;
        let settings = &container.settings;
        let artifacts = Artifacts::find(settings.kernel.as_deref())?;
        let about = About {
            artifacts: artifacts_digest(&artifacts).map_err(|source| GuestError::File {
                path: artifacts.kernel.clone(),
                source,
            })?,
            memory_mib: settings.memory.whole_mib(),
            vcpus: settings.cpus.vcpus(),
            endpoint: container.endpoint,
        };
        let path = folder.disk();
        let disk = match File::open(&path) {
            Ok(disk) => Some(disk),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(GuestError::File { path, source }),
        };
        let mut saved = Self {
            agent: shared.agent()?,
            id: id.to_string(),
        };
        let made = saved
            .quiet()
            .and_then(|()| Ok(checkpoints.make(name, &about, (controller, pid), disk.as_ref())?));
        if let Err(error) = made {
            saved.go_on()?;
            return Err(error);
        }
        let told = database.record_container(id, "checkpoint", Attributes::new());
        if let Err(error) = told {
            tracing::warn!(error = chain(&error), "an event was not recorded");
        }
        Ok(saved)
    }

    fn quiet(&mut self) -> Result<(), GuestError> {
        for _ in 1..TRIES {
            match self.ask(true) {
                Err(AgentError::Refused(failure)) if failure.kind == FailureKind::Busy => {
                    std::thread::sleep(PAUSE);
                }
                result => return Ok(result?),
            }
        }
        Ok(self.ask(true)?)
    }

    /// Lets the container go on, as far as it still runs.
    pub fn go_on(mut self) -> Result<(), GuestError> {
        Ok(self.ask(false)?)
    }

    fn ask(&mut self, quiet: bool) -> Result<(), AgentError> {
        let id = self.id.clone();
        self.agent.call(&Request::Quiesce { id, quiet })
    }
}
