//! Checks the container's health while it runs.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rvm_agent_protocol::frame::{self, Kind};
use rvm_agent_protocol::{Exec, ExitStatus, Request};

use super::shared::{GuestError, Phase, Shared};
use crate::container::Container;
use crate::error::chain;
use crate::exec_events::ExecEvents;
use crate::health::{Health, OUTPUT_LIMIT, Probe, Status};
use crate::microvm::AgentError;
use crate::options::health::HealthCheck;
use crate::root::Root;
use crate::spec::{SpecError, exec_process};
use crate::state::{Database, DatabaseError};

/// Enough for frames, formatting and SQLite.
const STACK: usize = 1 << 20;

/// Why a check was not carried out.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("the connection to the guest failed")]
    Frame(#[from] frame::Error),
    #[error("the connection to the guest failed")]
    Io(#[from] io::Error),
    #[error("the microVM has ended")]
    Gone,
}

/// Starts to check the container of this run, if it is to be checked.
pub fn watch(
    root: &Root,
    container: &Container,
    shared: &Arc<Shared>,
) -> io::Result<Option<JoinHandle<()>>> {
    let Some(check) = container.settings.health_check.clone() else {
        return Ok(None);
    };
    let watcher = Watcher {
        root: root.clone(),
        container: container.clone(),
        shared: shared.clone(),
        check,
        begun: Instant::now(),
    };
    let builder = thread::Builder::new()
        .name("health".into())
        .stack_size(STACK);
    Ok(Some(builder.spawn(move || watcher.run())?))
}

struct Watcher {
    root: Root,
    container: Container,
    shared: Arc<Shared>,
    check: HealthCheck,
    begun: Instant,
}

impl Watcher {
    fn run(&self) {
        let mut health = Health::default();
        loop {
            let starting = self.in_start_period() && health.status == Status::Starting;
            let interval = match starting {
                true => self.check.start_interval.min(self.check.interval),
                false => self.check.interval,
            };
            if self.shared.wait_ended(interval) {
                return;
            }
            // Standing still is no illness.
            if *self.shared.paused() {
                continue;
            }
            let in_start_period = self.in_start_period();
            let probe = self.probe();
            if !matches!(self.shared.phase(), Phase::Running) {
                return;
            }
            let changed = health.note(probe, self.check.retries, in_start_period);
            if let Err(error) = self.note(&health, changed) {
                tracing::error!(error = chain(&error), "cannot note the container's health");
            }
        }
    }

    fn in_start_period(&self) -> bool {
        self.begun.elapsed() < self.check.start_period
    }

    fn note(&self, health: &Health, changed: bool) -> Result<(), DatabaseError> {
        let database = Database::open(&self.root.database())?;
        database.set_health(&self.container.id, health, changed)
    }

    /// One check, from its beginning to its end.
    fn probe(&self) -> Probe {
        let start = Timestamp::now();
        let mut output = Vec::new();
        let exit_code = match self.try_probe(&mut output) {
            Ok(Some(code)) => code,
            Ok(None) => {
                let seconds = self.check.timeout.as_secs_f64();
                output = format!("Health check exceeded timeout ({seconds}s)").into_bytes();
                -1
            }
            Err(error) => {
                output = chain(&error).into_bytes();
                -1
            }
        };
        Probe {
            start,
            end: Timestamp::now(),
            exit_code,
            output: String::from_utf8_lossy(&output).into_owned(),
        }
    }

    /// The check's exit code; `None` when it takes too long, and is killed.
    fn try_probe(&self, output: &mut Vec<u8>) -> Result<Option<i32>, ProbeError> {
        let command = self.check.command();
        let told = ExecEvents::begin(&self.root, &self.container.id, &command);
        let mut process = exec_process(&self.container.settings)?;
        process.set_args(Some(command));
        let mut agent = self.shared.agent()?;
        let pid = agent.call_for_pid(&Request::Exec(Box::new(Exec {
            id: self.container.id.to_string(),
            process,
            user: self.container.settings.user.clone(),
            stdin: false,
            window: None,
        })))?;
        let deadline = Instant::now() + self.check.timeout;
        let ended = receive(agent.into_stream(), deadline, output)?;
        if ended.is_none() {
            self.shared.agent()?.call(&Request::Kill {
                id: self.container.id.to_string(),
                pid,
            })?;
        }
        told.end(ended.unwrap_or(137));
        Ok(ended)
    }
}

/// Takes the check's output in until it has ended, or its time is over.
fn receive(
    mut stream: UnixStream,
    deadline: Instant,
    output: &mut Vec<u8>,
) -> Result<Option<i32>, ProbeError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match frame::read(&mut stream) {
            Ok(Some((Kind::Stdout | Kind::Stderr, bytes))) => {
                let room = OUTPUT_LIMIT.saturating_sub(output.len());
                output.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Ok(Some((Kind::Exited, status))) => {
                let status: ExitStatus =
                    serde_json::from_slice(&status).map_err(frame::Error::from)?;
                return Ok(Some(status.code()));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Err(ProbeError::Gone),
            Err(frame::Error::Io(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
