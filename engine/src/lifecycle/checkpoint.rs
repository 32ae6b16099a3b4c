//! Checkpoints of containers.

use super::{Engine, SignalError};
use crate::checkpoint::{CheckpointError, Checkpoints};
use crate::container::Container;
use crate::monitor::protocol::Request;
use crate::monitor_client::{self, ClientError};
use crate::name::Name;

/// Why a container was not saved.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointRequestError {
    /// It doesn't run.
    #[error("Container {0} is not running")]
    NotRunning(String),
    /// Its end would take the checkpoint along.
    #[error("container {0} is removed when it ends: give --leave-running, or run it without --rm")]
    AutoRemove(String),
    /// The checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its monitor.
    #[error(transparent)]
    Monitor(#[from] ClientError),
    /// Its end can't be waited for.
    #[error(transparent)]
    End(#[from] SignalError),
}

impl Engine {
    /// Saves a running container as a checkpoint, which ends it unless it is to be left running.
    pub fn checkpoint(
        &self,
        container: &Container,
        name: &Name,
        leave_running: bool,
    ) -> Result<(), CheckpointRequestError> {
        let id = || container.id.to_string();
        if !container.state.has_process() {
            return Err(CheckpointRequestError::NotRunning(id()));
        }
        if container.settings.auto_remove && !leave_running {
            return Err(CheckpointRequestError::AutoRemove(id()));
        }
        let request = Request::Checkpoint {
            name: name.clone(),
            leave_running,
        };
        match monitor_client::request(&self.root.container(&container.id), &request) {
            Ok(_) => {}
            Err(ClientError::NotRunning | ClientError::Gone) => {
                return Err(CheckpointRequestError::NotRunning(id()));
            }
            Err(error) => return Err(error.into()),
        }
        if !leave_running {
            self.wait(container)?;
        }
        Ok(())
    }

    /// The checkpoints of a container.
    pub fn checkpoints(&self, container: &Container) -> Checkpoints {
        Checkpoints::of(&self.root.container(&container.id), &container.name)
    }
}
