//! The command line of images and registries.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use rvm_engine::image::Platform;

/// Which images `run` fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    /// Every one, before each run
    Always,
    /// Those that are not here
    Missing,
    /// None
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Image {
    /// List images
    #[command(visible_alias = "list")]
    Ls(Images),
    /// Download an image from a registry
    Pull(Pull),
    /// Upload an image to a registry
    Push(Push),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(Tag),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(Rmi),
    /// Load an image from an OCI layout, an OCI archive or a docker save archive
    Load(Load),
    /// Save one or more images to a tar archive
    Save(Save),
    /// Show the history of an image
    History(History),
    /// Make an image of the contents of a tarball
    Import(Import),
    /// Remove unused images
    Prune(ImagePrune),
    /// Return what is known of one or more images
    Inspect(Inspect),
}

#[derive(Debug, Args)]
pub struct Save {
    /// Write to a file, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

#[derive(Debug, Args)]
pub struct History {
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Only show image ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Print sizes and dates for people
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub human: bool,
    /// Format of the output: table, table TEMPLATE, json, or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: String,
    /// Image
    pub image: String,
}

#[derive(Debug, Args)]
pub struct Inspect {
    /// Format output with a Go template, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Images {
    /// Show all images
    #[arg(short, long)]
    pub all: bool,
    /// Only show image ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Filter output: dangling=BOOL, reference=PATTERN, label=KEY[=VALUE], before=IMAGE, since=IMAGE or until=TIME
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format of the output: table, table TEMPLATE, json, or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: String,
    /// Only images of this repository
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub repository: Option<String>,
}

#[derive(Debug, Args)]
pub struct Load {
    /// Read from a file or an OCI layout folder, instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Suppress the progress
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Pull {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Platform, if it is not this machine's: OS/ARCHITECTURE[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    /// Image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct Push {
    /// Push all tags of the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    /// Image
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct Tag {
    /// The image to name
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    pub source: String,
    /// Its further name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    pub target: String,
}

#[derive(Debug, Args)]
pub struct Rmi {
    /// Take the names from images that stopped containers were made of, and all names from an id
    #[arg(short, long)]
    pub force: bool,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Import {
    /// Apply an instruction of a Dockerfile to the image's configuration
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Comment of the image's layer
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Platform, if it is not this machine's: OS/ARCHITECTURE[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,
    /// The tarball; - for standard input
    #[arg(value_name = "FILE|URL|-")]
    pub source: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct ImagePrune {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    pub all: bool,
    /// Only what passes: until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct SystemPrune {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    pub all: bool,
    /// Only what passes: until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
    /// Prune anonymous volumes, of which there are none
    #[arg(long)]
    pub volumes: bool,
}

#[derive(Debug, Args)]
pub struct DiskUsage {
    /// Format of the output: table, table TEMPLATE, json, or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: String,
    /// Show detailed information on space usage
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
pub struct Login {
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password; others can see it: --password-stdin is better
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
    pub password: Option<String>,
    /// Take the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Registry [default: Docker's]
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

#[derive(Debug, Args)]
pub struct Logout {
    /// Registry [default: Docker's]
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

#[derive(Debug, Args)]
pub struct Search {
    /// Number of results
    #[arg(long, value_name = "NUMBER", default_value_t = 25)]
    pub limit: usize,
    /// Filter output: is-official=BOOL or stars=NUMBER
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format of the output: table, table TEMPLATE, json, or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: String,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// What to look for
    pub term: String,
}
