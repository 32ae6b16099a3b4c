//! Starting a container: a monitor is made for it, with its first client connected from the beginning, so that none of the output is lost.

use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rvm_agent_protocol::WindowSize;
use rvm_agent_protocol::frame::{self, Kind};

use super::{Engine, LockError};
use crate::container::{Container, State};
use crate::lock::Lock;
use crate::microvm::{self, ArtifactError};
use crate::monitor::protocol::{Failure, Request, Response};
use crate::monitor_client;
use crate::name::Name;
use crate::session::Session;
use crate::state::DatabaseError;
use crate::timing;

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
    /// It is paused.
    #[error("cannot start a paused container, try unpause instead")]
    Paused,
    /// It is being removed.
    #[error("container is marked for removal and cannot be started")]
    Removing,
    /// It was removed in the meantime.
    #[error("No such container: {0}")]
    NotFound(String),
    /// Its lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The monitor could not be started.
    #[error("cannot start the container's monitor")]
    Monitor(#[source] io::Error),
    /// Its program is missing.
    #[error(transparent)]
    Program(#[from] ArtifactError),
    /// The monitor went without a word.
    #[error("the container's monitor has ended unexpectedly ({how}); the reason may be in {log}")]
    MonitorGone {
        /// Its exit code, or which signal has ended it.
        how: String,
        /// What it has said.
        log: PathBuf,
    },
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
        self.start_from(container, attach, None)
    }

    /// As [`start`](Self::start), from a checkpoint if one is given.
    pub fn start_from(
        &self,
        container: &Container,
        attach: Attach,
        checkpoint: Option<&Name>,
    ) -> Result<Started, StartError> {
        let folder = self.root.container(&container.id);
        let lock = self.lock(container)?;
        let now = self.database.get(&container.id)?;
        let Some(now) = now else {
            if lock.is_some() {
                // The folder came back with the lock.
                let _ = folder.remove();
            }
            return Err(StartError::NotFound(container.name.to_string()));
        };
        let lock = match (lock, now.state) {
            (_, State::Removing | State::Dead) => return Err(StartError::Removing),
            (None, State::Paused) => return Err(StartError::Paused),
            (None, State::Starting) => {
                self.wait_started(container);
                return Err(StartError::AlreadyRunning(container.name.to_string()));
            }
            (None, _) => return Err(StartError::AlreadyRunning(container.name.to_string())),
            (Some(lock), _) => lock,
        };
        let program = microvm::monitor_program()?;
        self.database.set_starting(&container.id)?;
        let (mut ours, theirs) = UnixStream::pair().map_err(StartError::Monitor)?;
        let mut monitor = match self.spawn_monitor(container, lock, theirs, checkpoint, &program) {
            Ok(monitor) => monitor,
            Err(error) => {
                self.database
                    .set_not_started(&container.id, 125, &error.to_string())?;
                return Err(StartError::Monitor(error));
            }
        };
        timing::mark("monitor started");
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
                let status = monitor.wait();
                self.recover()?;
                Err(StartError::MonitorGone {
                    how: status.map_or_else(|e| e.to_string(), |status| status.to_string()),
                    log: folder.monitor_log(),
                })
            }
        }
    }

    /// Waits until a container that somebody else starts runs, or does not.
    pub(super) fn wait_started(&self, container: &Container) {
        let attach = Request::Attach {
            stdin: false,
            output: false,
            window: None,
        };
        if let Err(error) = monitor_client::request(&self.root.container(&container.id), &attach) {
            tracing::debug!(%error, "the container that another command starts does not run");
        }
    }

    /// Starts `rvm-monitor` as a session of its own. With the child's copy of the lock ours is closed; the lock goes over to it.
    fn spawn_monitor(
        &self,
        container: &Container,
        lock: Lock,
        client: UnixStream,
        checkpoint: Option<&Name>,
        program: &Path,
    ) -> io::Result<Child> {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.root.container(&container.id).monitor_log())?;
        let lock: OwnedFd = lock.share()?;
        let mut command = Command::new(program);
        command.arg(self.root.path()).arg(container.id.as_str());
        if let Some(checkpoint) = checkpoint {
            command.arg(checkpoint.as_str());
        }
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
