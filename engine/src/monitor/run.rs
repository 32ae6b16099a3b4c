//! The monitor's main thread.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rvm_agent_protocol::frame;
use rvm_agent_protocol::{ExitStatus, Kind};

use super::boot::{Booted, boot};
use super::connection::serve;
use super::log::{Log, Stream};
use super::protocol::{Exit, Failure};
use super::shared::{Phase, Shared};
use crate::container::Container;
use crate::id::ContainerId;
use crate::lock::Lock;
use crate::put_away;
use crate::root::{ContainerFolder, Root};
use crate::state::{Database, DatabaseError};

/// How long the VMM's last word is waited for when the container's stream has ended without one.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// What a monitor inherits from the command that starts it.
#[derive(Debug)]
pub struct Inherited {
    /// The container's lock.
    pub lock: OwnedFd,
    /// A connection of that command.
    pub client: UnixStream,
}

/// Why a monitor could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The container does not exist.
    #[error("No such container: {0}")]
    NoSuchContainer(ContainerId),
    /// A file, a socket or a thread could not be made.
    #[error("cannot set up the monitor in {folder}")]
    SetUp {
        /// The container's folder.
        folder: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Runs a container from its start to its end.
pub fn run(root: &Root, id: &ContainerId, inherited: Inherited) -> Result<(), MonitorError> {
    let mut lock = Lock::inherited(inherited.lock);
    let shared = Arc::new(Shared::new(true));
    let folder = root.container(id);
    let database = Database::open(&root.database())?;
    let Some(container) = database.get(id)? else {
        return Err(MonitorError::NoSuchContainer(id.clone()));
    };
    let set_up = || -> io::Result<Log> {
        lock.sign()?;
        let log = Log::open(&folder.log())?;
        serve(shared.clone(), id.clone(), inherited.client, true)?;
        listen(&shared, id, &folder)?;
        Ok(log)
    };
    let set_up = set_up().map_err(|source| MonitorError::SetUp {
        folder: folder.path().to_owned(),
        source,
    });
    let phase = match set_up {
        Ok(log) => run_container(root, &database, &container, &shared, log),
        Err(error) => {
            let message = crate::error::chain(&error);
            not_started(&database, &container, Failure { code: 125, message })
        }
    };
    put_away::resources(root, &database, id);
    if container.settings.auto_remove {
        put_away::remove(root, &database, id);
    }
    drop(database);
    // Only now, so that whoever hears of the end finds nothing left.
    drop(lock);
    shared.enter(phase);
    shared.wait_first_client();
    shared.clients.close();
    shared.join_writers();
    shared.wait_answered(Duration::from_secs(1));
    Ok(())
}

fn run_container(
    root: &Root,
    database: &Database,
    container: &Container,
    shared: &Arc<Shared>,
    mut log: Log,
) -> Phase {
    let booted = match boot(root, database, container, shared) {
        Ok(booted) => booted,
        Err(error) => {
            shared.clear_guest();
            return not_started(database, container, error.failure());
        }
    };
    let Booted {
        vm,
        mut stream,
        connection,
    } = booted;
    if let Err(error) = note_running(database, container, shared, &stream) {
        shared.clear_guest();
        return not_started(
            database,
            container,
            Failure {
                code: 125,
                message: crate::error::chain(&error),
            },
        );
    }
    let status = pump(shared, &mut log, &mut stream);
    log.finish();
    let exit = match status {
        Some(ExitStatus::OutOfMemory) => Exit {
            code: ExitStatus::OutOfMemory.code(),
            error: Some("out of memory".to_owned()),
        },
        Some(status) => Exit {
            code: status.code(),
            error: None,
        },
        None if shared.killed() => Exit {
            code: 137,
            error: None,
        },
        None => {
            let end = vm.wait_end(END_PATIENCE);
            let reason = end.map_or("the connection to the guest was lost".to_owned(), |end| {
                end.to_string()
            });
            tracing::error!(reason, "the microVM has ended before its container");
            Exit {
                code: 137,
                error: Some(format!(
                    "the microVM has ended before its container: {reason}"
                )),
            }
        }
    };
    shared.clear_guest();
    drop(vm);
    drop(connection);
    // Whoever finds the monitor gone without this note makes one of its own.
    if let Err(error) = database.set_exited(
        &container.id,
        Timestamp::now(),
        exit.code,
        exit.error.as_deref(),
    ) {
        tracing::error!(%error, "cannot note that the container has ended");
    }
    Phase::Ended(exit)
}

#[derive(Debug, thiserror::Error)]
enum NoteError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot copy the descriptor of the container's stream")]
    Stream(#[from] io::Error),
}

fn note_running(
    database: &Database,
    container: &Container,
    shared: &Shared,
    stream: &UnixStream,
) -> Result<(), NoteError> {
    shared.set_input(stream.try_clone()?);
    database.set_running(&container.id, Timestamp::now())?;
    shared.enter(Phase::Running);
    Ok(())
}

fn not_started(database: &Database, container: &Container, failure: Failure) -> Phase {
    if let Err(error) = database.set_not_started(&container.id, failure.code, &failure.message) {
        tracing::error!(%error, "cannot note that the container was not started");
    }
    Phase::Failed(failure)
}

/// Passes the container's output on until it has ended; how it did, unless the microVM went first.
fn pump(shared: &Shared, log: &mut Log, stream: &mut UnixStream) -> Option<ExitStatus> {
    loop {
        match frame::read(stream) {
            Ok(Some((Kind::Stdout, bytes))) => {
                log.write(Stream::Stdout, &bytes);
                shared.clients.send(Kind::Stdout, bytes);
            }
            Ok(Some((Kind::Stderr, bytes))) => {
                log.write(Stream::Stderr, &bytes);
                shared.clients.send(Kind::Stderr, bytes);
            }
            Ok(Some((Kind::Exited, status))) => match serde_json::from_slice(&status) {
                Ok(status) => return Some(status),
                Err(error) => {
                    tracing::error!(%error, "the guest's exit status is not understood");
                    return None;
                }
            },
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => {
                tracing::debug!(%error, "the container's stream has broken");
                return None;
            }
        }
    }
}

/// Serves the commands to come.
fn listen(shared: &Arc<Shared>, id: &ContainerId, folder: &ContainerFolder) -> io::Result<()> {
    // Of a monitor that was killed.
    match std::fs::remove_file(folder.socket()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = folder.with_socket_path(|path| UnixListener::bind(path))?;
    let (shared, id) = (shared.clone(), id.clone());
    let accept = move || {
        for stream in listener.incoming() {
            let served = stream.and_then(|stream| serve(shared.clone(), id.clone(), stream, false));
            if let Err(error) = served {
                tracing::warn!(%error, "a command's connection could not be served");
                // Descriptors may be short for a while.
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    };
    std::thread::Builder::new()
        .name("listener".into())
        .stack_size(128 << 10)
        .spawn(accept)?;
    Ok(())
}
