//! Arguments of the commands about a container's files.

use std::path::PathBuf;

use clap::Args;

/// `rvm cp`
#[derive(Debug, Args)]
pub struct Cp {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    pub archive: bool,
    /// Always follow symbolic links in the source
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Suppress progress output
    #[arg(short, long)]
    pub quiet: bool,
    /// CONTAINER:PATH, a path of the host, or - for a tar archive on standard input
    #[arg(allow_hyphen_values = true)]
    pub source: String,
    /// CONTAINER:PATH, a path of the host, or - for a tar archive on standard output
    #[arg(allow_hyphen_values = true)]
    pub destination: String,
}

/// `rvm export`
#[derive(Debug, Args)]
pub struct Export {
    /// Write to a file, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Container
    pub container: String,
}

/// `rvm commit`
#[derive(Debug, Args)]
pub struct Commit {
    /// Author, such as "Jane Doe <jane@example.com>"
    #[arg(short, long, value_name = "NAME", default_value = "")]
    pub author: String,
    /// Commit message
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    pub message: String,
    /// Apply an instruction of a Dockerfile to the image
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Stop the container's processes during the commit
    #[arg(short, long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub pause: bool,
    /// Container
    pub container: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub name: Option<String>,
}

/// `rvm diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// Container
    pub container: String,
}
