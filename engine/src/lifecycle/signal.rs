//! Signals to containers, and with them their end.

use std::time::{Duration, Instant};

use super::{Engine, FolderError};
use crate::container::{Container, State};
use crate::lock::{self, Lock};
use crate::monitor::protocol::{Exit, Request};
use crate::monitor_client::{self, ClientError};
use crate::options::signal::Signal;
use crate::session::{Event, Session};
use crate::state::DatabaseError;

/// How long a container has to end after its stop signal, when nobody says.
pub const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long a monitor has to put a killed container away.
const KILL_PATIENCE: Duration = Duration::from_secs(15);

/// Why a container was not signalled, stopped or waited for.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// It doesn't run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// Its monitor.
    #[error("container {id}")]
    Monitor {
        /// Which.
        id: String,
        /// Why.
        source: ClientError,
    },
    /// It does not end.
    #[error("container {0} could not be killed")]
    Stuck(String),
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Engine {
    /// Sends a signal to the container's first process.
    pub fn signal(&self, container: &Container, signal: Signal) -> Result<(), SignalError> {
        let not_running = || SignalError::NotRunning(container.id.to_string());
        if !container.state.is_active() {
            return Err(not_running());
        }
        match monitor_client::request(
            &self.root.container(&container.id),
            &Request::Signal { signal },
        ) {
            Ok(_) => Ok(()),
            Err(ClientError::NotRunning) => Err(not_running()),
            // The signal was what has ended it.
            Err(ClientError::Gone) if signal == Signal::KILL => Ok(()),
            Err(source) => Err(SignalError::Monitor {
                id: container.id.to_string(),
                source,
            }),
        }
    }

    /// Asks the container to end, and kills it when it has not after `patience`. A container that doesn't run is well stopped.
    pub fn stop(&self, container: &Container, patience: Duration) -> Result<(), SignalError> {
        if !container.state.is_active() {
            return Ok(());
        }
        match self.signal(container, container.settings.stop_signal) {
            Ok(()) if self.wait_free(container, patience)? => return Ok(()),
            Ok(()) | Err(SignalError::Monitor { .. }) => {}
            Err(SignalError::NotRunning(_)) => return self.settle(container),
            Err(error) => return Err(error),
        }
        self.kill(container)
    }

    /// Ends the container at once, and returns when it is put away.
    pub fn kill(&self, container: &Container) -> Result<(), SignalError> {
        match self.signal(container, Signal::KILL) {
            Ok(()) | Err(SignalError::NotRunning(_)) => {}
            Err(error) => tracing::warn!(%error, "the monitor does not take the signal"),
        }
        if self.wait_free(container, KILL_PATIENCE)? {
            return self.settle(container);
        }
        // The monitor itself does not do its work any more. Its microVM goes with it.
        let folder = self.root.container(&container.id);
        let holder = lock::holder(&folder).map_err(FolderError::of(container))?;
        if let Some(monitor) = holder.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(monitor, rustix::process::Signal::KILL);
        }
        if self.wait_free(container, KILL_PATIENCE)? {
            self.settle(container)
        } else {
            Err(SignalError::Stuck(container.id.to_string()))
        }
    }

    /// Waits for the container's end; its exit code.
    pub fn wait(&self, container: &Container) -> Result<Exit, SignalError> {
        if container.state.is_active() {
            let attach = Request::Attach {
                stdin: false,
                output: false,
                window: None,
            };
            match monitor_client::request(&self.root.container(&container.id), &attach) {
                Ok(stream) => {
                    if let Event::Exited(exit) = Session::new(stream).next_event() {
                        return Ok(exit);
                    }
                }
                Err(ClientError::Refused(failure)) => {
                    return Ok(Exit {
                        code: failure.code,
                        error: Some(failure.message),
                    });
                }
                // It is just coming or going.
                Err(_) => drop(
                    Lock::take(&self.root.container(&container.id))
                        .map_err(FolderError::of(container))?,
                ),
            }
            self.recover()?;
        }
        let now = self.database.get(&container.id)?;
        let code = now.as_ref().and_then(|container| container.exit_code);
        Ok(Exit {
            code: code.unwrap_or(super::recover::LOST),
            error: now.and_then(|container| container.error),
        })
    }

    /// Waits until nobody holds the container's lock.
    fn wait_free(&self, container: &Container, patience: Duration) -> Result<bool, SignalError> {
        let folder = self.root.container(&container.id);
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(2);
        loop {
            // A folder that is gone was removed with its container; taking the lock would make it anew.
            if !folder.path().exists()
                || Lock::try_take(&folder)
                    .map_err(FolderError::of(container))?
                    .is_some()
            {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Records what a monitor that has died could not.
    fn settle(&self, container: &Container) -> Result<(), SignalError> {
        match self.database.get(&container.id)? {
            Some(Container {
                state: State::Starting | State::Running,
                ..
            }) => Ok(self.recover()?),
            _ => Ok(()),
        }
    }
}
