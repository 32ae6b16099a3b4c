//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::arguments_attach::Attach;
use crate::arguments_bench::{Bench, IsolationReport};
use crate::arguments_checkpoint::Checkpoint;
use crate::arguments_create::{Create, Environment, Run};
use crate::arguments_files as files;
use crate::arguments_group::{Container, System};
use crate::arguments_image as image;
use crate::arguments_lifecycle as lifecycle;
use crate::arguments_show as show;
use crate::arguments_template::Template;
use crate::detach_keys::DetachKeys;

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
    /// Create a new container
    Create(Box<Create>),
    /// Run a command in a running container
    Exec(Exec),
    /// Copy files and folders between a container and the host
    Cp(files::Cp),
    /// Make an image of what a container has changed
    Commit(files::Commit),
    /// List what a container has changed of its image's files
    Diff(files::Diff),
    /// Export a container's file system as a tar archive
    Export(files::Export),
    /// Attach standard input, output and error to a running container
    Attach(Attach),
    /// List containers
    Ps(show::Ps),
    /// Start one or more stopped containers
    Start(lifecycle::Start),
    /// Stop one or more running containers
    Stop(lifecycle::Stop),
    /// Restart one or more containers
    Restart(lifecycle::Restart),
    /// Kill one or more running containers
    Kill(lifecycle::Kill),
    /// Pause all processes within one or more containers
    Pause(Containers),
    /// Unpause all processes within one or more containers
    Unpause(Containers),
    /// Update the limits and the restart policy of one or more containers
    Update(lifecycle::Update),
    /// Rename a container
    Rename(lifecycle::Rename),
    /// Remove one or more containers
    Rm(lifecycle::Rm),
    /// Manage containers
    #[command(subcommand)]
    Container(Container),
    /// Fetch the logs of a container
    Logs(show::Logs),
    /// Block until one or more containers stop, then print their exit codes
    Wait(Containers),
    /// Return what is known of containers and images, as JSON
    Inspect(show::Inspect),
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
    /// Manage the templates that containers start from
    #[command(subcommand)]
    Template(Template),
    /// Manage checkpoints
    #[command(subcommand)]
    Checkpoint(Checkpoint),
    /// Manage the host's part
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
    /// Display the running processes of a container
    Top(show::Top),
    /// Display what containers use, again and again
    Stats(show::Stats),
    /// List the published ports of a container
    Port(show::Port),
    /// Show the version
    Version(show::Version),
    /// Show what this host has for microVMs
    Info(show::Info),
    /// Measure what isolation costs: start, memory, system calls, computing, files and network of an image
    Bench(Box<Bench>),
    /// Show what a process inside sees and reaches in each isolation, by trying it
    IsolationReport(IsolationReport),
    /// Get events in real time
    Events(lifecycle::Events),
    /// Write what a shell reads to complete commands, options and names: source <(rvm completion bash)
    Completion(show::Completion),
    /// Write a man page for each command into a folder
    #[command(hide = true)]
    Man(show::Man),
    /// Start what is to come back after a restart of the host; run by the unit of 'rvm system enable-boot'
    #[command(hide = true)]
    Boot(lifecycle::Boot),
}

impl Command {
    /// Whether exit codes below 125 are the container's.
    pub fn makes_container(&self) -> bool {
        matches!(
            self,
            Self::Run(_)
                | Self::Create(_)
                | Self::Container(Container::Run(_) | Container::Create(_))
        )
    }

    /// Whether a word is the name of a command.
    pub fn is_name(word: &str) -> bool {
        Self::has_subcommand(word)
    }
}

#[derive(Debug, Args)]
pub struct Exec {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    /// Run the command in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Give the command every capability
    #[arg(long)]
    pub privileged: bool,
    /// Override the key sequence for detaching from the command
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<DetachKeys>,
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
pub struct Containers {
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
