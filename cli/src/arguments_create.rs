//! The command line of `run` and `create`: what a container is made of.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rvm_engine::container::NetworkMode;
use rvm_engine::name::Name;
use rvm_engine::options::cpus::Cpus;
use rvm_engine::options::health;
use rvm_engine::options::isolation::Isolation;
use rvm_engine::options::memory::Memory;
use rvm_engine::options::moment;
use rvm_engine::options::port::{self, Publish};
use rvm_engine::options::restart::RestartPolicy;
use rvm_engine::options::signal::Signal;

use crate::arguments_guest::GuestArguments;
use crate::arguments_image::PullPolicy;
use crate::arguments_lifecycle::Shares;
use crate::arguments_log::LogArguments;
use crate::detach_keys::DetachKeys;

/// A duration such as `1m30s`.
#[derive(Clone, Copy, Debug)]
pub struct GoDuration(pub Duration);

impl std::str::FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match moment::duration(text) {
            Some(time) if time.is_zero() || time >= health::SHORTEST => Ok(Self(time)),
            Some(_) => Err("it is shorter than 1ms".to_owned()),
            None => Err("write numbers and units, such as 1m30s".to_owned()),
        }
    }
}

/// How a container is connected.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum NetworkArgument {
    /// Loopback only
    None,
    /// An address on the host's bridge
    Bridge,
}

impl From<NetworkArgument> for NetworkMode {
    fn from(argument: NetworkArgument) -> Self {
        match argument {
            NetworkArgument::None => Self::None,
            NetworkArgument::Bridge => Self::Bridge,
        }
    }
}

/// One `--publish`, which may be a range.
#[derive(Clone, Debug)]
pub struct Published(pub Vec<Publish>);

impl std::str::FromStr for Published {
    type Err = port::InvalidPublish;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        port::parse(text).map(Self)
    }
}

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Run {
    /// Run the container in the background and print its id
    #[arg(short, long)]
    pub detach: bool,
    /// Pass received signals on to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub sig_proxy: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<DetachKeys>,
    /// Print on standard error when which stage of the run was reached
    #[arg(long)]
    pub timing: bool,
    #[command(flatten)]
    pub container: ContainerOptions,
}

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Create {
    #[command(flatten)]
    pub container: ContainerOptions,
}

/// What `run` and `create` have in common.
#[derive(Debug, Args)]
pub struct ContainerOptions {
    /// Image to run; without it the first argument is the image
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    /// Remove the container when it exits
    #[arg(long)]
    pub rm: bool,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
    #[command(flatten)]
    pub environment: Environment,
    #[command(flatten)]
    pub labels: Labels,
    #[command(flatten)]
    pub life: Life,
    #[command(flatten)]
    pub health: Health,
    #[command(flatten)]
    pub shares: Shares,
    #[command(flatten)]
    pub guest: GuestArguments,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User name or id, and group (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Overwrite the entry point of the image
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// What the container runs in: vm, a microVM of its own, or container, namespaces of the host [default: vm, or what RVM_ISOLATION says]
    #[arg(long, value_name = "ISOLATION")]
    pub isolation: Option<Isolation>,
    /// With --isolation container, the OCI runtime that makes and runs the container: crun, runc or the path of one [default: rvm's own, or what RVM_RUNTIME says]
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<String>,
    /// Memory of the microVM, with unit b, k, m or g [default: 256m]; without a microVM the most memory [default: no limit]
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<Memory>,
    /// Number of CPUs, which may be a fraction [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<Cpus>,
    /// Publish a port: [[ADDRESS:][HOST_PORT]:]PORT[/PROTOCOL]
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<Published>,
    /// Host name of the container
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Size of the container's writable layer: size=BYTES, with unit m or g [default: 10g, taken as it is written to]
    #[arg(long, value_name = "OPTION")]
    pub storage_opt: Vec<String>,
    /// Mount the container's root file system as read only
    #[arg(long)]
    pub read_only: bool,
    /// Network of the container
    #[arg(long, alias = "net", value_enum, default_value_t = NetworkArgument::Bridge)]
    pub network: NetworkArgument,
    /// Pull the image before running
    #[arg(long, value_enum, default_value_t = PullPolicy::Missing)]
    pub pull: PullPolicy,
    /// Suppress the pull output
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub log: LogArguments,
    /// Kernel to boot in place of the installed one
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Boot the microVM instead of going on from a template of one that has booted
    #[arg(long)]
    pub no_template: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
    /// The image, unless --image names it, and the command with its arguments
    #[arg(
        value_name = "IMAGE] [COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Environment {
    /// Set an environment variable (NAME=VALUE, or NAME for the host's value)
    #[arg(short, long, value_name = "VARIABLE")]
    pub env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Labels {
    /// Set a label (KEY=VALUE, or KEY for an empty one)
    #[arg(short, long, value_name = "LABEL")]
    pub label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
}

/// How a container's life ends, and begins anew.
#[derive(Debug, Args)]
pub struct Life {
    /// When to start the container again: no, on-failure[:RETRIES], always or unless-stopped
    #[arg(long, value_name = "POLICY", default_value_t)]
    pub restart: RestartPolicy,
    /// Signal that asks the container to stop
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<Signal>,
    /// Seconds to wait for a stopping container before it is killed
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub stop_timeout: Option<i64>,
}

/// How a container's health is checked.
#[derive(Debug, Args)]
pub struct Health {
    /// Command to run to check health
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h) [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub health_interval: Option<GoDuration>,
    /// Maximum time to allow one check to run (ms|s|m|h) [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub health_timeout: Option<GoDuration>,
    /// Consecutive failures needed to report unhealthy [default: 3]
    #[arg(long, value_name = "NUMBER")]
    pub health_retries: Option<u32>,
    /// Start period for the container to initialise before failures count (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    pub health_start_period: Option<GoDuration>,
    /// Time between running the check during the start period (ms|s|m|h) [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub health_start_interval: Option<GoDuration>,
    /// Disable any health check that the image has
    #[arg(long, conflicts_with_all = ["health_cmd", "health_interval", "health_timeout", "health_retries", "health_start_period", "health_start_interval"])]
    pub no_healthcheck: bool,
}
