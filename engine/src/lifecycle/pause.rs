//! Pausing containers.

use super::Engine;
use crate::container::{Container, State};
use crate::monitor::protocol::Request;
use crate::monitor_client::{self, ClientError};
use crate::rootless;

/// Why a container was not paused, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// It doesn't run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// It waits to be started again.
    #[error("container {0} is restarting, wait until the container is running")]
    Restarting(String),
    /// It does not stand still.
    #[error("container {0} is not paused")]
    NotPaused(String),
    /// It has no control group.
    #[error(
        "container {0} can't be paused: without root a container on the host has no control group"
    )]
    Rootless(String),
    /// Its monitor.
    #[error(transparent)]
    Monitor(ClientError),
}

impl Engine {
    /// Lets the container's vCPUs stand still.
    pub fn pause(&self, container: &Container) -> Result<(), PauseError> {
        match container.state {
            State::Restarting => Err(PauseError::Restarting(container.id.to_string())),
            state if !state.has_process() => Err(PauseError::NotRunning(container.id.to_string())),
            _ if rootless::applies_to(&container.settings) => {
                Err(PauseError::Rootless(container.id.to_string()))
            }
            _ => self.ask(container, &Request::Pause),
        }
    }

    /// Lets the container's vCPUs go on.
    pub fn unpause(&self, container: &Container) -> Result<(), PauseError> {
        if !container.state.has_process() {
            return Err(PauseError::NotPaused(container.id.to_string()));
        }
        self.ask(container, &Request::Unpause)
    }

    fn ask(&self, container: &Container, request: &Request) -> Result<(), PauseError> {
        match monitor_client::request(&self.root.container(&container.id), request) {
            Ok(_) => Ok(()),
            Err(ClientError::NotRunning | ClientError::Gone) => {
                Err(PauseError::NotRunning(container.id.to_string()))
            }
            Err(error) => Err(PauseError::Monitor(error)),
        }
    }
}
