//! What the monitor's threads share of one run of the container.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rvm_agent_protocol::{FailureKind, WindowSize};

use super::clients::Clients;
use super::protocol::{Exit, Failure};
use crate::checkpoint::CheckpointError;
use crate::enclosure::Brake;
use crate::microvm::{
    Agent, AgentError, ArtifactError, Broker, BrokerError, ControlError, Terminator,
};
use crate::state::DatabaseError;
use crate::timing;

/// The container's life as the monitor sees it.
#[derive(Clone, Debug)]
pub enum Phase {
    /// On its way.
    Starting,
    /// Its process runs.
    Running,
    /// It did not come to run.
    Failed(Failure),
    /// It has ended, and is put away.
    Ended(Exit),
}

impl Phase {
    /// The same end, with the stages that the monitor has noted up to now.
    pub fn with_timing(self) -> Self {
        match self {
            Self::Ended(exit) => Self::Ended(Exit {
                timing: timing::take(),
                ..exit
            }),
            other => other,
        }
    }

    /// The same end, when nothing follows it.
    pub fn without_restart(self) -> Self {
        match self {
            Self::Ended(exit) => Self::Ended(Exit {
                restarting: false,
                ..exit
            }),
            other => other,
        }
    }
}

/// What the monitor's threads share of one run of the container.
#[derive(Debug)]
pub struct Shared {
    /// The attached clients.
    pub clients: Clients,
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the vCPUs stand still; locked while that changes.
    paused: Mutex<bool>,
    /// The limits that the container gets when it goes on.
    limits: Mutex<BTreeMap<String, String>>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    vm: Option<Arc<Terminator>>,
    brake: Option<Arc<Brake>>,
    broker: Option<Arc<Broker>>,
    /// Input for the container's first process.
    input: Option<UnixStream>,
    window: Option<WindowSize>,
    killed: bool,
    /// What the container writes is to be there at its next start.
    keeps_disk: bool,
    requests: usize,
    first_client: bool,
    writers: Vec<JoinHandle<()>>,
}

/// Why the guest could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// There is none, not yet or no more.
    #[error("the container is not running")]
    NotRunning,
    /// Its vCPUs stand still.
    #[error("container {0} is paused, unpause the container before exec")]
    Paused(String),
    /// They do so already.
    #[error("container {0} is already paused")]
    AlreadyPaused(String),
    /// They do not.
    #[error("container {0} is not paused")]
    NotPaused(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The VMM.
    #[error(transparent)]
    Control(ControlError),
    /// No connection.
    #[error(transparent)]
    Broker(BrokerError),
    /// The agent refused.
    #[error(transparent)]
    Agent(AgentError),
    /// It can't be saved standing still.
    #[error("container {0} is paused, unpause the container before checkpoint")]
    PausedCheckpoint(String),
    /// It could not be saved.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file that the microVM is made of.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// Another file.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its control group refuses.
    #[error("the guest does not take the container's new limits")]
    Limit(#[source] AgentError),
    /// The microVM could not be killed.
    #[error("cannot kill the VMM")]
    Kill(#[source] std::io::Error),
}

// An end that nobody has noted yet shows here first.

impl From<ControlError> for GuestError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Ended => Self::NotRunning,
            error => Self::Control(error),
        }
    }
}

impl From<BrokerError> for GuestError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Closed => Self::NotRunning,
            error => Self::Broker(error),
        }
    }
}

impl From<AgentError> for GuestError {
    fn from(error: AgentError) -> Self {
        let unknown =
            matches!(&error, AgentError::Refused(why) if why.kind == FailureKind::NoSuchContainer);
        // An agent closes its connections only by ending, and knows no container before it has made it.
        match error.is_broken() || unknown {
            true => Self::NotRunning,
            false => Self::Agent(error),
        }
    }
}

impl Shared {
    /// The beginning; `first_client` when the start has to wait for a client to attach.
    pub fn new(first_client: bool) -> Self {
        let state = State {
            phase: Phase::Starting,
            vm: None,
            brake: None,
            broker: None,
            input: None,
            window: None,
            killed: false,
            keeps_disk: false,
            requests: 0,
            first_client,
            writers: Vec::new(),
        };
        Self {
            clients: Clients::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            paused: Mutex::new(false),
            limits: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the client for which the start waits is attached, with its terminal's size, or gone.
    pub fn first_client_ready(&self, window: Option<WindowSize>) {
        let mut state = self.state();
        state.first_client = false;
        state.window = state.window.or(window);
        self.changed.notify_all();
    }

    /// Waits until the first client is attached or the container is to be killed; its terminal's size.
    pub fn wait_first_client(&self) -> Option<WindowSize> {
        self.wait_while(|state| state.first_client && !state.killed)
            .window
    }

    /// Waits until the first client is attached or has gone: until then it can't be told how the start went.
    pub fn wait_first_client_told(&self) {
        drop(self.wait_while(|state| state.first_client));
    }

    fn wait_while(&self, mut waits: impl FnMut(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_while(self.state(), |state| waits(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes over to a phase.
    pub fn enter(&self, phase: Phase) {
        self.state().phase = phase;
        self.changed.notify_all();
    }

    /// Goes over to the last phase, and lets all clients go once they have what is theirs.
    pub fn finish(&self, phase: Phase) {
        self.enter(phase);
        self.clients.close();
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.state().phase.clone()
    }

    /// Waits until the container runs or has failed to.
    pub fn wait_started(&self) -> Phase {
        self.wait_while(|state| matches!(state.phase, Phase::Starting))
            .phase
            .clone()
    }

    /// Makes the microVM known. Whether it was to be killed before it was there.
    pub fn set_vm(&self, terminator: Terminator) -> bool {
        let mut state = self.state();
        state.vm = Some(terminator.into());
        state.killed
    }

    /// Makes the way to let the running container stand still known.
    pub fn set_brake(&self, brake: Brake) {
        self.state().brake = Some(brake.into());
    }

    /// The way to let a container stand still, if it runs.
    pub fn brake(&self) -> Result<Arc<Brake>, GuestError> {
        let state = self.state();
        let running = matches!(state.phase, Phase::Running);
        let brake = state.brake.clone().filter(|_| running);
        brake.ok_or(GuestError::NotRunning)
    }

    /// Whether the vCPUs stand still. Nobody else changes it before the guard is dropped.
    pub fn paused(&self) -> MutexGuard<'_, bool> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps limits for later while the vCPUs stand still, or else gives them back.
    pub fn limit_unless_paused(
        &self,
        files: BTreeMap<String, String>,
    ) -> Option<BTreeMap<String, String>> {
        if !*self.paused() {
            return Some(files);
        }
        self.limits().extend(files);
        None
    }

    /// The limits that were kept for later.
    pub fn take_limits(&self) -> BTreeMap<String, String> {
        std::mem::take(&mut *self.limits())
    }

    fn limits(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the way to the guest known.
    pub fn set_broker(&self, broker: Broker) {
        self.state().broker = Some(broker.into());
    }

    /// Makes the input of the container's first process known.
    pub fn set_input(&self, input: UnixStream) {
        self.state().input = Some(input);
    }

    /// Notes that what the container writes is to be there at its next start.
    pub fn set_keeps_disk(&self) {
        self.state().keeps_disk = true;
    }

    /// Whether the container runs, and what it writes is to be there at its next start.
    pub fn keeps_disk(&self) -> bool {
        let state = self.state();
        state.keeps_disk && matches!(state.phase, Phase::Running)
    }

    /// Forgets the microVM.
    pub fn clear_guest(&self) {
        let mut state = self.state();
        state.vm = None;
        state.brake = None;
        state.broker = None;
        state.input = None;
        self.changed.notify_all();
    }

    /// A connection to the agent.
    pub fn connect(&self) -> Result<UnixStream, GuestError> {
        let broker = self.state().broker.clone().ok_or(GuestError::NotRunning)?;
        Ok(broker.connect(rvm_agent_protocol::AGENT_PORT)?)
    }

    /// A connection to the agent, to make requests on.
    pub fn agent(&self) -> Result<Agent, GuestError> {
        Ok(Agent::new(self.connect()?))
    }

    /// The input of the container's first process.
    pub fn input(&self) -> Option<UnixStream> {
        self.state().input.as_ref()?.try_clone().ok()
    }

    /// Kills the microVM, with it everything in the container.
    pub fn kill(&self) -> Result<(), GuestError> {
        let vm = {
            let mut state = self.state();
            state.killed = true;
            state.vm.clone()
        };
        self.changed.notify_all();
        // Without a microVM it is killed as soon as there is one.
        vm.map_or(Ok(()), |vm| vm.terminate().map_err(GuestError::Kill))
    }

    /// Waits so long, or until the run has ended; whether it has.
    pub fn wait_ended(&self, time: Duration) -> bool {
        let running = |state: &mut State| {
            matches!(state.phase, Phase::Starting | Phase::Running) && state.vm.is_some()
        };
        let waited = self.changed.wait_timeout_while(self.state(), time, running);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !timeout.timed_out()
    }

    /// Kills the microVM unless its container ends by itself before `patience` is over.
    pub fn kill_after(&self, patience: Duration) -> Result<(), GuestError> {
        if self.wait_ended(patience) {
            Ok(())
        } else {
            self.kill()
        }
    }

    /// Whether someone has asked for the kill.
    pub fn killed(&self) -> bool {
        self.state().killed
    }

    /// Notes that a request is to be answered, until the value is dropped.
    pub fn request(&self) -> Answering<'_> {
        self.state().requests += 1;
        Answering(self)
    }

    /// Waits for answers that are on their way.
    pub fn wait_answered(&self, patience: Duration) {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), patience, |state| state.requests > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes a thread that writes to a client.
    pub fn add_writer(&self, writer: JoinHandle<()>) {
        let mut state = self.state();
        state.writers.retain(|writer| !writer.is_finished());
        state.writers.push(writer);
    }

    /// Whether all clients have what is theirs.
    pub fn writers_finished(&self) -> bool {
        self.state().writers.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all clients have what is theirs.
    pub fn join_writers(&self) {
        loop {
            let writers = std::mem::take(&mut self.state().writers);
            if writers.is_empty() {
                return;
            }
            for writer in writers {
                // A writer that has panicked has said so.
                let _ = writer.join();
            }
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Answering<'a>(&'a Shared);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.state().requests -= 1;
        self.0.changed.notify_all();
    }
}
