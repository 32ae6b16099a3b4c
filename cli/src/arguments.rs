//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rvm_engine::container::NetworkMode;
use rvm_engine::name::Name;
use rvm_engine::options::cpus::Cpus;
use rvm_engine::options::memory::Memory;
use rvm_engine::options::port::{self, Publish};
use rvm_engine::options::signal::Signal;

use crate::arguments_image as image;
use crate::arguments_image::PullPolicy;

/// Runs OCI containers, each in a KVM microVM of its own.
#[derive(Debug, Parser)]
#[command(name = "rvm", version, disable_help_subcommand = true)]
pub struct Arguments {
    /// Folder in which everything is kept [default: /var/lib/rvm for root, rvm in the XDG data folder otherwise]
    #[arg(long, env = "RVM_ROOT", value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// How much is told on standard error: error, warn, info, debug or trace
    #[arg(long, env = "RVM_LOG", value_name = "LEVEL", default_value = "warn")]
    pub log_level: tracing::Level,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create and run a new container from an image
    Run(Box<Run>),
    /// Run a command in a running container
    Exec(Exec),
    /// List containers
    Ps(Ps),
    /// Stop one or more running containers
    Stop(Stop),
    /// Kill one or more running containers
    Kill(Kill),
    /// Remove one or more containers
    Rm(Rm),
    /// Fetch the logs of a container
    Logs(Logs),
    /// Block until one or more containers stop, then print their exit codes
    Wait(Containers),
    /// Return what is known of one or more containers, as JSON
    Inspect(Containers),
    /// List images
    Images(image::Images),
    /// Manage images
    #[command(subcommand)]
    Image(image::Image),
    /// Download an image from a registry
    Pull(image::Pull),
    /// Upload an image to a registry
    Push(image::Push),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(image::Tag),
    /// Remove one or more images
    Rmi(image::Rmi),
    /// Load an image from an OCI layout, an OCI archive or a docker save archive
    Load(image::Load),
    /// Save one or more images to a tar archive
    Save(image::Save),
    /// Make an image of the contents of a tarball
    Import(image::Import),
    /// Manage what is kept on the disk
    #[command(subcommand)]
    System(System),
    /// Show the history of an image
    History(image::History),
    /// Log in to a registry
    Login(image::Login),
    /// Log out from a registry
    Logout(image::Logout),
    /// Search Docker's registry for images
    Search(image::Search),
    /// Show what this host has for microVMs
    Info(Info),
    /// Stand beside a container; started by rvm itself
    #[command(hide = true)]
    Monitor(Monitor),
}

#[derive(Debug, Subcommand)]
pub enum System {
    /// Show disk usage
    Df(image::DiskUsage),
    /// Remove what is not used
    Prune(image::SystemPrune),
    /// Show what this host has for microVMs
    Info(Info),
}

impl Command {
    /// Whether a word is the name of a command.
    pub fn is_name(word: &str) -> bool {
        Self::has_subcommand(word)
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
    /// Image to run; without it the first argument is the image
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    /// Run the container in the background and print its id
    #[arg(short, long)]
    pub detach: bool,
    /// Remove the container when it exits
    #[arg(long)]
    pub rm: bool,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
    #[command(flatten)]
    pub environment: Environment,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User name or id, and group (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Overwrite the entry point of the image
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// Memory of the microVM, with unit b, k, m or g [default: 256m]
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
    /// Pass received signals on to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub sig_proxy: bool,
    /// Kernel to boot in place of the installed one
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
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
pub struct Exec {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    #[command(flatten)]
    pub environment: Environment,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User name or id, and group (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Container
    pub container: String,
    /// Command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Ps {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub all: bool,
    /// Only display container ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Format of the output: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    pub format: String,
}

#[derive(Debug, Args)]
pub struct Stop {
    /// Seconds to wait before killing the container
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub time: Option<i64>,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
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
pub struct Rm {
    /// Kill a running container first
    #[arg(short, long)]
    pub force: bool,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// Follow log output
    #[arg(short, long)]
    pub follow: bool,
    /// Show timestamps
    #[arg(short, long)]
    pub timestamps: bool,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    pub tail: String,
    /// Container
    pub container: String,
}

#[derive(Debug, Args)]
pub struct Containers {
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Monitor {
    /// Container
    pub id: String,
}

/// `rvm info`
#[derive(Debug, Args)]
pub struct Info {
    /// Format output: json for a JSON object, instead of a text
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json"])]
    pub format: Option<String>,
}
