//! The monitor's main thread: the runs of a container, one after the other.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rvm_vmm::at_rest;

use super::boot::{BootError, Booted, boot, go_on};
use super::connection::serve;
use super::health;
use super::output;
use super::protocol::Failure;
use super::restart::Restarts;
use super::seat::Seat;
use super::shared::{Phase, Shared};
use crate::container::{Container, State};
use crate::disk;
use crate::error::chain;
use crate::health::Health;
use crate::id::ContainerId;
use crate::lock::Lock;
use crate::log::Log;
use crate::name::Name;
use crate::put_away;
use crate::root::{ContainerFolder, Root};
use crate::state::{Database, DatabaseError, Ending};
use crate::timing;

/// What a monitor inherits from the command that starts it.
#[derive(Debug)]
pub struct Inherited {
    /// The container's lock.
    pub lock: OwnedFd,
    /// A connection of that command.
    pub client: UnixStream,
    /// The checkpoint from which the first run goes on.
    pub checkpoint: Option<Name>,
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

/// What all runs of the container have in common.
struct Monitor {
    root: Root,
    database: Database,
    id: ContainerId,
    seat: Arc<Seat>,
    restarts: Restarts,
    /// From where the next run goes on.
    checkpoint: Option<Name>,
    /// The last run's microVM, on its way to its end.
    ending: Option<JoinHandle<()>>,
}

/// Runs a container from its start to its end, with the restarts in between.
pub fn run(root: &Root, id: &ContainerId, inherited: Inherited) -> Result<(), MonitorError> {
    timing::mark("monitor begins");
    let mut lock = Lock::inherited(inherited.lock);
    let first = Arc::new(Shared::new(true));
    let seat = Arc::new(Seat::new(first.clone()));
    let folder = root.container(id);
    let database = Database::open(&root.database())?;
    let Some(container) = database.get(id)? else {
        return Err(MonitorError::NoSuchContainer(id.clone()));
    };
    let set_up = || -> io::Result<Log> {
        // Before anything that can fail, so that it can be told.
        serve(root, &seat, id, inherited.client, true)?;
        lock.sign()?;
        let settings = &container.settings;
        let details = settings.log.details(&settings.labels, &settings.env);
        let log = Log::open(&folder.log(), &settings.log, details)?;
        listen(root, &seat, id, &folder)?;
        Ok(log)
    };
    let set_up = set_up().map_err(|source| MonitorError::SetUp {
        folder: folder.path().to_owned(),
        source,
    });
    let mut monitor = Monitor {
        root: root.clone(),
        database,
        id: id.clone(),
        seat,
        restarts: Restarts::default(),
        checkpoint: inherited.checkpoint,
        ending: None,
    };
    let (last, phase, earlier) = match set_up {
        Ok(log) => monitor.runs(first, container.clone(), log),
        Err(error) => {
            let message = chain(&error);
            let phase = monitor.not_started(Failure { code: 125, message });
            (first, phase, Vec::new())
        }
    };
    put_away::resources(root, &monitor.database, id);
    monitor.wait_microvm();
    if container.settings.auto_remove && !monitor.seat.is_kept() {
        put_away::remove(root, &monitor.database, id);
    }
    drop(monitor);
    // Only now, so that whoever hears of the end finds nothing left.
    drop(lock);
    timing::mark("everything put away");
    last.finish(phase.with_timing());
    last.wait_first_client_told();
    for run in earlier.iter().chain([&last]) {
        run.join_writers();
    }
    last.wait_answered(Duration::from_secs(1));
    Ok(())
}

impl Monitor {
    /// All runs; the last of them, how it has ended, and the earlier ones whose clients have not taken everything yet.
    fn runs(
        &mut self,
        mut run: Arc<Shared>,
        mut container: Container,
        mut log: Log,
    ) -> (Arc<Shared>, Phase, Vec<Arc<Shared>>) {
        let mut earlier: Vec<Arc<Shared>> = Vec::new();
        loop {
            let (phase, wait) = self.run(&container, &run, &mut log);
            let Some(wait) = wait else {
                return (run, phase, earlier);
            };
            put_away::network(&self.root, &self.database, &self.id);
            self.wait_microvm();
            let next = Arc::new(Shared::new(false));
            self.seat.succeed(next.clone());
            run.finish(phase.clone().with_timing());
            earlier.retain(|run| !run.writers_finished());
            earlier.push(std::mem::replace(&mut run, next));
            if !self.seat.wait(wait) {
                note(self.database.set_exited(&self.id));
                return (run, phase.without_restart(), earlier);
            }
            note(self.database.set_restart(&self.id));
            match self.database.get(&self.id) {
                Ok(Some(now)) => container = now,
                Ok(None) => {}
                Err(error) => tracing::error!(
                    error = chain(&error),
                    "the container's settings can't be read again"
                ),
            }
        }
    }

    /// One run; how it has ended, and how long to wait before the next one.
    fn run(
        &mut self,
        container: &Container,
        shared: &Arc<Shared>,
        log: &mut Log,
    ) -> (Phase, Option<Duration>) {
        let booted = match self.checkpoint.take() {
            Some(name) => go_on(&self.root, &self.database, container, shared, &name),
            None => boot(&self.root, &self.database, container, shared),
        };
        let booted = match booted {
            Ok(booted) => booted,
            Err(error) => {
                shared.clear_guest();
                return (self.not_booted(&error), None);
            }
        };
        let Booted {
            mut enclosure,
            mut stream,
            connection,
        } = booted;
        timing::mark("process started");
        let begun = Instant::now();
        let checked = container.settings.health_check.is_some();
        let health = checked.then(Health::default);
        let running = || -> Result<(), NoteError> {
            shared.set_input(stream.try_clone()?);
            shared.set_brake(enclosure.brake()?);
            if self.keeps_disk(container) {
                shared.set_keeps_disk();
            }
            self.database.set_running(
                &self.id,
                Timestamp::now(),
                enclosure.pid(),
                health.as_ref(),
            )?;
            shared.enter(Phase::Running);
            health::watch(&self.root, container, shared)?;
            Ok(())
        };
        if let Err(error) = running() {
            shared.clear_guest();
            let message = chain(&error);
            return (self.not_started(Failure { code: 125, message }), None);
        }
        self.database.rest();
        at_rest::give_back_memory();
        let status = output::pump(shared, log, &mut stream);
        timing::mark("process ended");
        log.finish();
        // A sandbox has more to put away than its disk.
        let asks = self.keeps_disk(container) || enclosure.puts_away();
        if status.is_some() && asks && output::write_back(shared) {
            enclosure.expect_end();
        }
        let (mut exit, oom_killed) = output::exit(status, shared, &enclosure);
        shared.clear_guest();
        // Its end takes the kernel a while, and nothing that is put away meanwhile is its.
        self.ending = Some(std::thread::spawn(move || {
            drop(enclosure);
            timing::mark("microVM ended");
        }));
        drop(connection);
        let wait = self.wait_for_restart(exit.code, begun.elapsed());
        exit.restarting = wait.is_some();
        // Whoever finds the monitor gone without this note makes one of its own.
        note(self.database.set_ended(
            &self.id,
            &Ending {
                finished: Timestamp::now(),
                exit_code: exit.code,
                error: exit.error.as_deref(),
                oom_killed,
                next: match wait {
                    Some(_) => State::Restarting,
                    None => State::Exited,
                },
            },
        ));
        (Phase::Ended(exit), wait)
    }

    /// Waits until the last run's microVM is gone.
    fn wait_microvm(&mut self) {
        // Its thread does not panic.
        let _ = self.ending.take().map(JoinHandle::join);
    }

    /// Whether what the container writes outlives its run.
    fn keeps_disk(&self, container: &Container) -> bool {
        let removed = container.settings.auto_remove && !self.seat.is_kept();
        disk::size_of(&container.settings).is_some() && !removed
    }

    /// How long to wait before the container is started again, by the policy that it has now.
    fn wait_for_restart(&mut self, code: i32, ran: Duration) -> Option<Duration> {
        if self.seat.is_for_good() {
            return None;
        }
        match self.database.get(&self.id) {
            Ok(container) => {
                let policy = container?.settings.restart;
                self.restarts.next(policy, code, ran)
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "the restart policy can't be read");
                None
            }
        }
    }

    fn not_booted(&self, error: &BootError) -> Phase {
        let failure = error.failure();
        if !matches!(error, BootError::Killed) {
            return self.not_started(failure);
        }
        // For everybody else it has run, however short.
        note(self.database.set_ended(
            &self.id,
            &Ending {
                finished: Timestamp::now(),
                exit_code: failure.code,
                error: Some(&failure.message),
                oom_killed: false,
                next: State::Exited,
            },
        ));
        Phase::Failed(failure)
    }

    fn not_started(&self, failure: Failure) -> Phase {
        note(
            self.database
                .set_not_started(&self.id, failure.code, &failure.message),
        );
        Phase::Failed(failure)
    }
}

/// What can't be noted is found out by the next command that comes along.
fn note(noted: Result<(), DatabaseError>) {
    if let Err(error) = noted {
        tracing::error!(error = chain(&error), "cannot note the container's state");
    }
}

#[derive(Debug, thiserror::Error)]
enum NoteError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot copy a descriptor of the microVM, or make a thread")]
    System(#[from] io::Error),
}

/// Serves the commands to come.
fn listen(
    root: &Root,
    seat: &Arc<Seat>,
    id: &ContainerId,
    folder: &ContainerFolder,
) -> io::Result<()> {
    // Of a monitor that was killed.
    match std::fs::remove_file(folder.socket()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = folder.with_socket_path(|path| UnixListener::bind(path))?;
    let (root, seat, id) = (root.clone(), seat.clone(), id.clone());
    let accept = move || {
        for stream in listener.incoming() {
            let served = stream.and_then(|stream| serve(&root, &seat, &id, stream, false));
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
