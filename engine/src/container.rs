//! What is known of a container.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::health::Health;
use crate::id::ContainerId;
use crate::log::LogOptions;
use crate::name::Name;
use crate::network::Endpoint;
use crate::options::cpus::Cpus;
use crate::options::guest::GuestOptions;
use crate::options::health::HealthCheck;
use crate::options::isolation::Isolation;
use crate::options::label::Labels;
use crate::options::limits::Limits;
use crate::options::memory::Memory;
use crate::options::port::Publish;
use crate::options::restart::RestartPolicy;
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
    /// The process of its VMM while it runs, or its own first process where it has no VMM.
    pub pid: Option<u32>,
    /// How often it was restarted by its policy since somebody has started it.
    pub restart_count: u32,
    /// Somebody has stopped it since it was started.
    pub manually_stopped: bool,
    /// Its last run ended for want of memory.
    pub oom_killed: bool,
    /// What its health checks have found, for a container that has one.
    pub health: Option<Health>,
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
    /// Its vCPUs stand still.
    Paused,
    /// Its process has ended, and its monitor waits to start it again.
    Restarting,
    /// Its process has ended.
    Exited,
    /// Somebody removes it.
    Removing,
    /// It could not be removed altogether.
    Dead,
}

impl State {
    const ALL: [Self; 8] = [
        Self::Created,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Restarting,
        Self::Exited,
        Self::Removing,
        Self::Dead,
    ];

    /// As it stands in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
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
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether a monitor has it in hand.
    pub fn is_active(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running | Self::Paused | Self::Restarting
        )
    }

    /// Whether Docker counts it among the running containers, which `ps` lists.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }

    /// Whether there is a guest with the container's process in it.
    pub fn has_process(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// What a container is made from. Only `update` changes something of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The image as the user named it.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// The program and its arguments, entry point and command joined.
    pub args: Vec<String>,
    /// The part of `args` that is the entry point, the image's or the user's.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Labels, the image's and the user's.
    #[serde(default)]
    pub labels: Labels,
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
    /// What it runs in.
    #[serde(default)]
    pub isolation: Isolation,
    /// The OCI runtime that makes and runs it; without, rvm's own.
    #[serde(default)]
    pub runtime: Option<PathBuf>,
    /// The guest's memory; without a guest, the host's.
    pub memory: Memory,
    /// The guest's processors; without a guest, as many as a guest could have.
    pub cpus: Cpus,
    /// The signal that asks the process to end.
    pub stop_signal: Signal,
    /// Seconds that it has to end after that signal; a negative number for as long as it takes.
    #[serde(default)]
    pub stop_timeout: Option<i64>,
    /// When it is started again.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// What it may take of its guest.
    #[serde(default)]
    pub limits: Limits,
    /// The size of its writable layer.
    #[serde(default)]
    pub storage_size: Option<Memory>,
    /// How its health is checked.
    #[serde(default)]
    pub health_check: Option<HealthCheck>,
    /// How the container is connected.
    pub network: NetworkMode,
    /// Ports to publish.
    pub publish: Vec<Publish>,
    /// Ports that the image says it listens on, such as `80/tcp`.
    pub exposed: Vec<String>,
    /// Where its output goes.
    #[serde(default)]
    pub log: LogOptions,
    /// A kernel other than the installed one.
    pub kernel: Option<PathBuf>,
    /// Boot instead of going on from a template.
    #[serde(default)]
    pub no_template: bool,
    /// What takes effect inside the guest.
    #[serde(default)]
    pub guest: GuestOptions,
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
