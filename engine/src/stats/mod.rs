//! What a running container uses: what its control group in the guest says, and what its microVM takes on the host.

mod guest;
mod host;

use std::time::{Duration, Instant};

use rvm_agent_protocol::Observed;

use crate::container::Container;
use crate::lifecycle::Engine;
use crate::microvm::{Agent, AgentError};
use crate::monitor_client::{self, ClientError};
use crate::options::isolation::Isolation;

/// How long a guest is waited for. One whose vCPUs stand still says nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a container has used up to one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When that was.
    pub taken: Instant,
    /// Of processors, since the container's start.
    pub cpu: Duration,
    /// Memory in bytes, without what the guest's kernel could give back at once.
    pub memory: u64,
    /// The most memory that it may use, in bytes.
    pub memory_limit: u64,
    /// Bytes received and sent.
    pub network: (u64, u64),
    /// Bytes read from and written to disks.
    pub block: (u64, u64),
    /// Processes and threads.
    pub pids: u64,
    /// What it takes on the host beside its own processes.
    pub host: HostMemory,
}

/// Memory of the host, in bytes; what several processes share counts by its share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostMemory {
    /// What the guest's memory really takes.
    pub guest: u64,
    /// What the monitor takes beside that, and the VMM or the sandbox's agent.
    pub overhead: u64,
}

/// Why a guest did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The container does not run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The monitor.
    #[error(transparent)]
    Monitor(#[from] ClientError),
    /// The agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A system call.
    #[error("cannot talk to the guest")]
    Io(#[from] std::io::Error),
}

impl Engine {
    /// Measures what a container uses.
    pub fn sample(&self, container: &Container) -> Result<Sample, ObserveError> {
        let files = self.observe(container, Observed::Usage)?;
        let usage = guest::usage(&files);
        let given = container.settings.memory.bytes();
        let endpoint = container.endpoint.as_ref();
        Ok(Sample {
            taken: Instant::now(),
            cpu: usage.cpu,
            memory: usage.memory,
            memory_limit: usage.memory_max.map_or(given, |most| most.min(given)),
            network: endpoint.map_or((0, 0), |endpoint| host::traffic(&endpoint.tap)),
            block: usage.block,
            pids: usage.pids,
            host: host::memory(self.monitor_pid(container), enclosure(container)),
        })
    }

    /// What the guest's kernel says of a container.
    pub(crate) fn observe(
        &self,
        container: &Container,
        what: Observed,
    ) -> Result<std::collections::HashMap<String, String>, ObserveError> {
        let not_running = || ObserveError::NotRunning(container.id.to_string());
        if !container.state.is_active() {
            return Err(not_running());
        }
        let folder = self.root().container(&container.id);
        let stream = monitor_client::connect_agent(&folder).map_err(|error| match error {
            ClientError::NotRunning => not_running(),
            error => error.into(),
        })?;
        let mut agent = Agent::new(stream);
        agent.set_timeout(Some(PATIENCE))?;
        Ok(agent.observe(container.id.to_string(), what)?)
    }
}

/// The process beside the monitor: the VMM, or the agent, whose child the container's own process is.
fn enclosure(container: &Container) -> Option<u32> {
    match container.settings.isolation {
        Isolation::Vm => container.pid,
        Isolation::Container => host::parent(container.pid?),
    }
}

impl Sample {
    /// How much of one processor was used since an earlier sample, in per cent.
    pub fn cpu_percent(&self, before: &Self) -> f64 {
        let wall = self.taken.saturating_duration_since(before.taken);
        let used = self.cpu.saturating_sub(before.cpu);
        match wall.is_zero() {
            true => 0.0,
            false => 100.0 * used.as_secs_f64() / wall.as_secs_f64(),
        }
    }

    /// How much of its memory is used, in per cent.
    pub fn memory_percent(&self) -> f64 {
        match self.memory_limit {
            0 => 0.0,
            limit => 100.0 * self.memory as f64 / limit as f64,
        }
    }
}
