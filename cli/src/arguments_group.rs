//! The grouped forms, such as `rvm container ls`: other names of the commands.

use clap::Subcommand;

use crate::arguments::{Containers, Exec};
use crate::arguments_attach::Attach;
use crate::arguments_create::{Create, Run};
use crate::arguments_files as files;
use crate::arguments_image as image;
use crate::arguments_lifecycle as lifecycle;
use crate::arguments_show as show;

#[derive(Debug, Subcommand)]
pub enum Container {
    /// Attach standard input, output and error to a running container
    Attach(Attach),
    /// Make an image of what a container has changed
    Commit(files::Commit),
    /// Copy files and folders between a container and the host
    Cp(files::Cp),
    /// Create a new container
    Create(Box<Create>),
    /// List what a container has changed of its image's files
    Diff(files::Diff),
    /// Run a command in a running container
    Exec(Exec),
    /// Export a container's file system as a tar archive
    Export(files::Export),
    /// Return what is known of one or more containers
    Inspect(show::InspectContainers),
    /// Kill one or more running containers
    Kill(lifecycle::Kill),
    /// Fetch the logs of a container
    Logs(show::Logs),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(show::Ps),
    /// Pause all processes within one or more containers
    Pause(Containers),
    /// List the published ports of a container
    Port(show::Port),
    /// Remove all stopped containers
    Prune(lifecycle::ContainerPrune),
    /// Rename a container
    Rename(lifecycle::Rename),
    /// Restart one or more containers
    Restart(lifecycle::Restart),
    /// Remove one or more containers
    #[command(visible_alias = "remove")]
    Rm(lifecycle::Rm),
    /// Create and run a new container from an image
    Run(Box<Run>),
    /// Start one or more stopped containers
    Start(lifecycle::Start),
    /// Display what containers use, again and again
    Stats(show::Stats),
    /// Stop one or more running containers
    Stop(lifecycle::Stop),
    /// Display the running processes of a container
    Top(show::Top),
    /// Unpause all processes within one or more containers
    Unpause(Containers),
    /// Change the limits and the restart policy of one or more containers
    Update(lifecycle::Update),
    /// Block until one or more containers stop, then print their exit codes
    Wait(Containers),
}

#[derive(Debug, Subcommand)]
pub enum System {
    /// Show disk usage
    Df(image::DiskUsage),
    /// Have systemd start no containers any more
    DisableBoot,
    /// Have systemd start containers by their restart policies after a restart of the host
    EnableBoot,
    /// Get events in real time
    Events(lifecycle::Events),
    /// Show what this host has for microVMs
    Info(show::Info),
    /// Remove what is not used
    Prune(image::SystemPrune),
}
