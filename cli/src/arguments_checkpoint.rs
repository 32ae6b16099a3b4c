//! The command line of checkpoints.

use clap::{Args, Subcommand};
use rvm_engine::name::Name;

#[derive(Debug, Subcommand)]
pub enum Checkpoint {
    /// Save a running container as a checkpoint, and stop it
    Create(CheckpointCreate),
    /// List the checkpoints of a container
    #[command(visible_alias = "list")]
    Ls(CheckpointLs),
    /// Remove a checkpoint
    #[command(visible_alias = "remove")]
    Rm(CheckpointRm),
}

#[derive(Debug, Args)]
pub struct CheckpointCreate {
    /// Leave the container running
    #[arg(long)]
    pub leave_running: bool,
    /// Container
    pub container: String,
    /// The checkpoint's name
    pub checkpoint: Name,
}

#[derive(Debug, Args)]
pub struct CheckpointLs {
    /// Container
    pub container: String,
}

#[derive(Debug, Args)]
pub struct CheckpointRm {
    /// Container
    pub container: String,
    /// Checkpoint
    pub checkpoint: Name,
}
