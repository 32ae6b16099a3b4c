//! What the monitor's threads share.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rvm_agent_protocol::WindowSize;

use super::clients::Clients;
use super::protocol::{Exit, Failure};
use crate::microvm::{Agent, AgentError, Broker, BrokerError, Terminator};

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

/// What the monitor's threads share.
#[derive(Debug)]
pub struct Shared {
    /// The attached clients.
    pub clients: Clients,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    vm: Option<Arc<Terminator>>,
    broker: Option<Arc<Broker>>,
    /// Input for the container's first process.
    input: Option<UnixStream>,
    window: Option<WindowSize>,
    killed: bool,
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
    /// No connection.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The agent refused.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The microVM could not be killed.
    #[error("cannot kill the VMM")]
    Kill(#[source] std::io::Error),
}

impl Shared {
    /// The beginning; `first_client` when the start has to wait for a client to attach.
    pub fn new(first_client: bool) -> Self {
        let state = State {
            phase: Phase::Starting,
            vm: None,
            broker: None,
            input: None,
            window: None,
            killed: false,
            requests: 0,
            first_client,
            writers: Vec::new(),
        };
        Self {
            clients: Clients::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
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

    /// Waits until the first client is attached; its terminal's size.
    pub fn wait_first_client(&self) -> Option<WindowSize> {
        let guard = self
            .changed
            .wait_while(self.state(), |state| state.first_client);
        guard.unwrap_or_else(PoisonError::into_inner).window
    }

    /// Goes over to a phase.
    pub fn enter(&self, phase: Phase) {
        self.state().phase = phase;
        self.changed.notify_all();
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.state().phase.clone()
    }

    /// Waits until the container runs or has failed to.
    pub fn wait_started(&self) -> Phase {
        let guard = self
            .changed
            .wait_while(self.state(), |state| matches!(state.phase, Phase::Starting));
        guard.unwrap_or_else(PoisonError::into_inner).phase.clone()
    }

    /// Makes the microVM known. Whether it was to be killed before it was there.
    pub fn set_vm(&self, terminator: Terminator) -> bool {
        let mut state = self.state();
        state.vm = Some(terminator.into());
        state.killed
    }

    /// Makes the way to the guest known.
    pub fn set_broker(&self, broker: Broker) {
        self.state().broker = Some(broker.into());
    }

    /// Makes the input of the container's first process known.
    pub fn set_input(&self, input: UnixStream) {
        self.state().input = Some(input);
    }

    /// Forgets the microVM.
    pub fn clear_guest(&self) {
        let mut state = self.state();
        state.vm = None;
        state.broker = None;
        state.input = None;
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
            // The start does not wait any longer for a client.
            state.first_client = false;
            state.vm.clone()
        };
        self.changed.notify_all();
        // Without a microVM it is killed as soon as there is one.
        vm.map_or(Ok(()), |vm| vm.terminate().map_err(GuestError::Kill))
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
