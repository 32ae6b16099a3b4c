//! Taking part in the streams of a running container.

use super::{Attach, Engine};
use crate::container::Container;
use crate::monitor::protocol::Request;
use crate::monitor_client::{self, ClientError};
use crate::session::Session;

/// Why a caller could not take part.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The container does not run.
    #[error("You cannot attach to a stopped container, start it first")]
    NotRunning,
    /// It is paused, or waits to be started anew.
    #[error("You cannot attach to a {0} container, wait until it is running, or unpause it first")]
    NotNow(&'static str),
    /// The monitor.
    #[error(transparent)]
    Monitor(#[from] ClientError),
}

impl Engine {
    /// Says why nobody can take part in a container's streams, by the state that it was found in.
    pub fn check_attach(&self, container: &Container) -> Result<(), AttachError> {
        match container.state.shown() {
            "running" => Ok(()),
            waiting @ ("paused" | "restarting") => Err(AttachError::NotNow(waiting)),
            _ => Err(AttachError::NotRunning),
        }
    }

    /// Takes part in a running container's streams.
    pub fn attach(&self, container: &Container, attach: Attach) -> Result<Session, AttachError> {
        self.check_attach(container)?;
        let Attach {
            stdin,
            output,
            window,
        } = attach;
        let request = Request::Attach {
            stdin,
            output,
            window,
        };
        match monitor_client::request(&self.root.container(&container.id), &request) {
            Ok(stream) => Ok(Session::new(stream)),
            Err(ClientError::NotRunning) => Err(AttachError::NotRunning),
            Err(error) => Err(error.into()),
        }
    }
}
