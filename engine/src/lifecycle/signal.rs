//! Signals to containers, and with them their end.

use std::time::{Duration, Instant};

use super::{Engine, FolderError};
use crate::container::Container;
use crate::event::Attributes;
use crate::lock::{self, Lock};
use crate::monitor::protocol::{Exit, Purpose, Request};
use crate::monitor_client::{self, ClientError};
use crate::options::signal::Signal;
use crate::session::{Event, Session};
use crate::state::DatabaseError;

/// How long a container has to end after its stop signal, when nobody says, in seconds.
const STOP_PATIENCE: i64 = 10;

/// How long a monitor has to put a killed container away, and its guest to write back what the container has written.
const KILL_PATIENCE: Duration = Duration::from_secs(120);

/// How a container is stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stop {
    /// In place of the container's own stop signal.
    pub signal: Option<Signal>,
    /// In place of the container's own time to end, in seconds; a negative one waits for ever.
    pub timeout: Option<i64>,
}

impl Stop {
    fn patience(self, own: Option<i64>) -> Duration {
        let seconds = self.timeout.or(own).unwrap_or(STOP_PATIENCE);
        let for_ever = Duration::from_secs(u32::MAX.into());
        u64::try_from(seconds).map_or(for_ever, |seconds| {
            Duration::from_secs(seconds).min(for_ever)
        })
    }
}

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
    /// Sends a signal to the container's first process. With one that is to end it, its restart policy does not hold any more; SIGKILL
    /// is waited for until it has.
    pub fn signal(&self, container: &Container, signal: Signal) -> Result<(), SignalError> {
        let ends = signal == Signal::KILL || signal == container.settings.stop_signal;
        let purpose = if ends { Purpose::Stop } else { Purpose::Tell };
        self.send(container, signal, purpose)?;
        if signal == Signal::KILL {
            return self.see_killed(container);
        }
        Ok(())
    }

    fn send(
        &self,
        container: &Container,
        signal: Signal,
        purpose: Purpose,
    ) -> Result<(), SignalError> {
        let not_running = || SignalError::NotRunning(container.id.to_string());
        if !container.state.is_active() {
            return Err(not_running());
        }
        match monitor_client::request(
            &self.root.container(&container.id),
            &Request::Signal { signal, purpose },
        ) {
            Ok(_) => Ok(()),
            Err(ClientError::NotRunning) => Err(not_running()),
            // The signal was what has ended it.
            Err(ClientError::Gone) if signal == Signal::KILL => Ok(()),
            Err(ClientError::Gone) => Err(not_running()),
            Err(source) => Err(SignalError::Monitor {
                id: container.id.to_string(),
                source,
            }),
        }
    }

    /// Asks the container to end, and kills it when it has not in time. A container that doesn't run is well stopped.
    pub fn stop(&self, container: &Container, how: Stop) -> Result<(), SignalError> {
        self.end_and_tell(container, how, Purpose::Stop)
    }

    /// Ends the container if it runs, keeping it.
    pub(super) fn end_for_restart(
        &self,
        container: &Container,
        how: Stop,
    ) -> Result<(), SignalError> {
        self.end_and_tell(container, how, Purpose::Restart)
    }

    fn end_and_tell(
        &self,
        container: &Container,
        how: Stop,
        purpose: Purpose,
    ) -> Result<(), SignalError> {
        if !container.state.is_active() {
            return Ok(());
        }
        self.end(container, how, purpose)?;
        Ok(self
            .database
            .record_container(&container.id, "stop", Attributes::new())?)
    }

    fn end(&self, container: &Container, how: Stop, purpose: Purpose) -> Result<(), SignalError> {
        let signal = how.signal.unwrap_or(container.settings.stop_signal);
        let patience = how.patience(container.settings.stop_timeout);
        match self.send(container, signal, purpose) {
            Ok(()) if self.wait_free(container, patience)? => return Ok(()),
            Ok(()) | Err(SignalError::Monitor { .. }) => {}
            Err(SignalError::NotRunning(_)) => return self.settle(container),
            Err(error) => return Err(error),
        }
        self.end_at_once(container, purpose)
    }

    /// Ends the container at once, and returns when it is put away.
    pub fn kill(&self, container: &Container) -> Result<(), SignalError> {
        self.end_at_once(container, Purpose::Stop)
    }

    /// The same for a container of which nothing is to be kept.
    pub(super) fn kill_for_removal(&self, container: &Container) -> Result<(), SignalError> {
        self.end_at_once(container, Purpose::Remove)
    }

    fn end_at_once(&self, container: &Container, purpose: Purpose) -> Result<(), SignalError> {
        match self.send(container, Signal::KILL, purpose) {
            Ok(()) | Err(SignalError::NotRunning(_)) => {}
            Err(error) => tracing::warn!(%error, "the monitor does not take the signal"),
        }
        self.see_killed(container)
    }

    /// Waits until a killed container is put away, if need be without its monitor.
    fn see_killed(&self, container: &Container) -> Result<(), SignalError> {
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
                    return Ok(Exit::new(failure.code, Some(failure.message)));
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
        let Some(now) = now else {
            return Ok(Exit::new(super::recover::LOST, None));
        };
        // One that was never started has nothing to be waited for.
        Ok(Exit::new(now.exit_code.unwrap_or(0), now.error))
    }

    /// Waits until nobody holds the container's lock, or somebody else does than at first: then another command has started it again.
    fn wait_free(&self, container: &Container, patience: Duration) -> Result<bool, SignalError> {
        let folder = self.root.container(&container.id);
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(2);
        let signature = || std::fs::read_to_string(folder.lock()).unwrap_or_default();
        let first = signature();
        let is_another = || {
            let now = signature();
            !now.is_empty() && !first.is_empty() && now != first
        };
        loop {
            // A folder that is gone was removed with its container; taking the lock would make it anew.
            if !folder.path().exists()
                || is_another()
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
            Some(container) if container.state.is_active() => Ok(self.recover()?),
            _ => Ok(()),
        }
    }
}
