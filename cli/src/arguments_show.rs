//! The command line of what shows something of containers and of the host.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub struct Ps {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub all: bool,
    /// Filter output, such as status=exited, name=PATTERN, label=KEY[=VALUE], ancestor=IMAGE, publish=PORT or before=CONTAINER
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format of the output: table, table TEMPLATE, json, or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: String,
    /// Show the last created containers, whatever their states
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value_t = -1,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    pub last: i64,
    /// Show the latest created container, whatever its state
    #[arg(short, long)]
    pub latest: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Only display container ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    pub size: bool,
}

/// What `inspect` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ObjectKind {
    /// A container
    Container,
    /// An image
    Image,
}

#[derive(Debug, Args)]
pub struct Inspect {
    /// Format output with a Go template, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Tell what containers take on the disk
    #[arg(short, long)]
    pub size: bool,
    /// Only look for this
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub kind: Option<ObjectKind>,
    /// Containers and images
    #[arg(required = true, value_name = "NAME|ID")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct InspectContainers {
    /// Format output with a Go template, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Tell what containers take on the disk
    #[arg(short, long)]
    pub size: bool,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

impl From<InspectContainers> for Inspect {
    fn from(arguments: InspectContainers) -> Self {
        Self {
            format: arguments.format,
            size: arguments.size,
            kind: Some(ObjectKind::Container),
            names: arguments.containers,
        }
    }
}

#[derive(Debug, Args)]
pub struct Logs {
    /// Show what was noted with each line for --log-opt labels= and env=
    #[arg(long)]
    pub details: bool,
    /// Follow log output
    #[arg(short, long)]
    pub follow: bool,
    /// Show logs since a time, such as 2026-01-31T09:30:00Z, or for so long, such as 42m
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Show logs before a time, or until so long ago
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
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
pub struct Port {
    /// Container
    pub container: String,
    /// A port of the container alone
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    pub port: Option<String>,
}

#[derive(Debug, Args)]
pub struct Top {
    /// Container
    pub container: String,
    /// Options as ps takes them, such as -ef, aux or -o pid,args
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PS OPTIONS"
    )]
    pub options: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Stats {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub all: bool,
    /// Format of the output: table, table TEMPLATE, json, or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: String,
    /// Only pull the first result, and end
    #[arg(long)]
    pub no_stream: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Containers
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Version {
    /// Format output with a Go template, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

#[derive(Debug, Args)]
pub struct Completion {
    /// Shell
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    pub shell: String,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Folder, which is made where it is missing
    pub folder: PathBuf,
}

#[derive(Debug, Args)]
pub struct Info {
    /// Format output with a Go template, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}
