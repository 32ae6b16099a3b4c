//! Starting a container: a monitor is made for it, with its first client connected from the beginning, so that none of the output is lost.

use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rvm_agent_protocol::WindowSize;
use rvm_agent_protocol::frame::{self, Kind};

use super::{Engine, LockError};
use crate::container::{Container, State};
use crate::lock::Lock;
use crate::monitor::protocol::{Failure, Request, Response};
use crate::session::Session;
use crate::state::DatabaseError;

/// The descriptors that a monitor inherits: its first client's connection, and the container's lock.
pub const MONITOR_CLIENT_FD: RawFd = 3;
/// The container's lock.
pub const MONITOR_LOCK_FD: RawFd = 4;

/// How a caller takes part in a container's streams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attach {
    /// It sends standard input.
    pub stdin: bool,
    /// It receives the output.
    pub output: bool,
    /// Its terminal's size.
    pub window: Option<WindowSize>,
}

/// Why a container was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It runs already.
    #[error("container {0} is already running")]
    AlreadyRunning(String),
    /// It was removed in the meantime.
    #[error("No such container: {0}")]
    NotFound(String),
    /// Its lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The monitor could not be started.
    #[error("cannot start the container's monitor")]
    Monitor(#[source] io::Error),
    /// The monitor went without a word.
    #[error("the container's monitor has ended unexpectedly; the reason may be in {0}")]
    MonitorGone(std::path::PathBuf),
    /// The monitor says why.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The connection to it.
    #[error("cannot talk to the container's monitor")]
    Connection(#[from] frame::Error),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl StartError {
    /// The exit code that Docker has for it.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Failed(failure) => failure.code,
            _ => 125,
        }
    }
}

/// A container whose process runs.
#[derive(Debug)]
pub struct Started {
    /// The caller's part in it.
    pub session: Session,
    monitor: Child,
}

impl Started {
    /// Waits until the monitor itself is gone, after the container has ended.
    pub fn wait_monitor(&mut self) {
        if let Err(error) = self.monitor.wait() {
            tracing::debug!(%error, "cannot wait for the monitor");
        }
    }
}

impl Engine {
    /// Starts a container, and returns when its process runs.
    pub fn start(&self, container: &Container, attach: Attach) -> Result<Started, StartError> {
        let folder = self.root.container(&container.id);
        let lock = self.lock(container)?;
        let lock = lock.ok_or_else(|| StartError::AlreadyRunning(container.name.to_string()))?;
        match self.database.get(&container.id)? {
            Some(Container {
                state: State::Running,
                ..
            }) => return Err(StartError::AlreadyRunning(container.name.to_string())),
            Some(_) => {}
            None => {
                // The folder came back with the lock.
                let _ = folder.remove();
                return Err(StartError::NotFound(container.name.to_string()));
            }
        }
        self.database.set_starting(&container.id)?;
        let (mut ours, theirs) = UnixStream::pair().map_err(StartError::Monitor)?;
        let mut monitor = match self.spawn_monitor(container, lock, theirs) {
            Ok(monitor) => monitor,
            Err(error) => {
                self.database
                    .set_not_started(&container.id, 125, &error.to_string())?;
                return Err(StartError::Monitor(error));
            }
        };
        let Attach {
            stdin,
            output,
            window,
        } = attach;
        // A monitor that is gone already shows when its answer is read.
        let asked = frame::write_json(
            &mut ours,
            Kind::Request,
            &Request::Attach {
                stdin,
                output,
                window,
            },
        );
        let answer = asked.and_then(|()| frame::read(&mut ours));
        match answer {
            Ok(Some((Kind::Response, payload))) => {
                match serde_json::from_slice(&payload).map_err(frame::Error::from)? {
                    Response::Ok => Ok(Started {
                        session: Session::new(ours),
                        monitor,
                    }),
                    Response::Failed(failure) => {
                        let _ = monitor.wait();
                        Err(failure.into())
                    }
                }
            }
            _ => {
                let _ = monitor.wait();
                self.recover()?;
                Err(StartError::MonitorGone(folder.monitor_log()))
            }
        }
    }

    /// Starts `rvm monitor` as a session of its own. With the child's copy of the lock ours is closed; the lock goes over to it.
    fn spawn_monitor(
        &self,
        container: &Container,
        lock: Lock,
        client: UnixStream,
    ) -> io::Result<Child> {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.root.container(&container.id).monitor_log())?;
        let lock: OwnedFd = lock.share()?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("rvm")
            .arg("--root")
            .arg(self.root.path())
            .arg("monitor")
            .arg(container.id.as_str());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .current_dir("/");
        let mappings = vec![
            FdMapping {
                parent_fd: client.into(),
                child_fd: MONITOR_CLIENT_FD,
            },
            FdMapping {
                parent_fd: lock,
                child_fd: MONITOR_LOCK_FD,
            },
        ];
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                // Signals from the caller's terminal, and its hang-up, are not for the monitor.
                rustix::process::setsid()?;
                Ok(())
            });
        }
        command.spawn()
    }
}
