//! The command line of what starts, stops and removes containers.

use clap::Args;

use crate::detach_keys::DetachKeys;
use rvm_engine::name::Name;
use rvm_engine::options::cpus::Cpus;
use rvm_engine::options::memory::Memory;
use rvm_engine::options::restart::RestartPolicy;
use rvm_engine::options::signal::Signal;

#[derive(Debug, Args)]
pub struct Start {
    /// Attach standard output and standard error, and pass signals on
    #[arg(short, long)]
    pub attach: bool,
    /// Attach standard input
    #[arg(short, long)]
    pub interactive: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<DetachKeys>,
    /// Go on from this checkpoint
    #[arg(long, value_name = "CHECKPOINT", conflicts_with_all = ["attach", "interactive"])]
    pub checkpoint: Option<Name>,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Stop {
    #[command(flatten)]
    pub how: Stopping,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Restart {
    #[command(flatten)]
    pub how: Stopping,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// How a container is stopped.
#[derive(Debug, Args)]
pub struct Stopping {
    /// Signal to send to the container
    #[arg(short, long, value_name = "SIGNAL")]
    pub signal: Option<Signal>,
    /// Seconds to wait before killing the container
    #[arg(
        short = 't',
        long = "timeout",
        alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub timeout: Option<i64>,
}

#[derive(Debug, Args)]
pub struct Kill {
    /// Signal to send to the container
    #[arg(short, long, default_value_t = Signal::KILL)]
    pub signal: Signal,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Rename {
    /// Container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Its new name
    #[arg(value_name = "NEW_NAME")]
    pub name: Name,
}

#[derive(Debug, Args)]
pub struct Rm {
    /// Kill a running container first
    #[arg(short, long)]
    pub force: bool,
    /// Remove anonymous volumes of the container, of which there are none
    #[arg(short, long)]
    pub volumes: bool,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ContainerPrune {
    /// Remove only what matches: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Events {
    /// Only what matches, such as container=web, event=start, type=image or label=KEY=VALUE
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format of the output: json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show events since a time, such as 10m or 2026-01-31T09:30:00
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Show events until a time, and end then
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// Limits that hold within the guest.
#[derive(Debug, Args)]
pub struct Shares {
    /// Relative weight among those who want the CPUs, 2 to 262144
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    pub cpu_shares: Option<u64>,
    /// Memory that is not taken from the container lightly, with unit b, k, m or g
    #[arg(long, value_name = "BYTES")]
    pub memory_reservation: Option<Memory>,
}

#[derive(Debug, Args)]
pub struct Update {
    /// Number of CPUs, which may be a fraction
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<Cpus>,
    #[command(flatten)]
    pub shares: Shares,
    /// Memory, with unit b, k, m or g
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<Memory>,
    /// Most processes and threads (-1 for any number)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// When to start the container again: no, on-failure[:RETRIES], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<RestartPolicy>,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Boot {
    /// End the containers, before the host goes
    #[arg(long)]
    pub stop: bool,
}
