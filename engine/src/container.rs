//! What is known of a container.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::ContainerId;
use crate::name::Name;
use crate::network::Endpoint;
use crate::options::cpus::Cpus;
use crate::options::memory::Memory;
use crate::options::port::Publish;
use crate::options::signal::Signal;

/// A container as the database has it.
#[derive(Clone, Debug, Serialize)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: Name,
    /// What was asked for when it was created.
    pub settings: Settings,
    /// Where it is in its life.
    pub state: State,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last started.
    pub started: Option<Timestamp>,
    /// When it last ended.
    pub finished: Option<Timestamp>,
    /// The exit code of its last run.
    pub exit_code: Option<i32>,
    /// Why its last run, or the attempt at one, failed.
    pub error: Option<String>,
    /// Its place in the network while it has one.
    pub endpoint: Option<Endpoint>,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Never started, or its start failed.
    Created,
    /// A monitor makes it run; shown as created.
    Starting,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited,
}

impl State {
    /// As it stands in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Exited => "exited",
        }
    }

    /// The word Docker has for it.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Starting => "created",
            other => other.as_str(),
        }
    }

    /// A state from the database.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Created, Self::Starting, Self::Running, Self::Exited]
            .into_iter()
            .find(|state| state.as_str() == text)
    }

    /// Whether a monitor has it in hand.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Starting | Self::Running)
    }
}

/// What a container is made from; it never changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The image as the user named it.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// The program and its arguments, entry point and command joined.
    pub args: Vec<String>,
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    /// The working folder in the container.
    pub working_dir: String,
    /// The user as the image or the user wrote it; empty is root.
    pub user: String,
    /// The host name.
    pub hostname: String,
    /// The process has a terminal.
    pub tty: bool,
    /// The process's standard input is kept open.
    pub open_stdin: bool,
    /// The container goes when it has ended.
    pub auto_remove: bool,
    /// The root file system can't be written.
    pub read_only: bool,
    /// The guest's memory.
    pub memory: Memory,
    /// The guest's processors.
    pub cpus: Cpus,
    /// The signal that asks the process to end.
    pub stop_signal: Signal,
    /// How the container is connected.
    pub network: NetworkMode,
    /// Ports to publish.
    pub publish: Vec<Publish>,
    /// Ports that the image says it listens on, such as `80/tcp`.
    pub exposed: Vec<String>,
    /// A kernel other than the installed one.
    pub kernel: Option<PathBuf>,
}

/// How a container is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Loopback only.
    None,
    /// An address on the host's bridge, reaching out through the host.
    #[default]
    Bridge,
}
