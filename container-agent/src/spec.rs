//! The part of an OCI runtime specification that the agent acts upon, in version 1.2's names.
//!
//! `oci-spec` has types for all of it. They are not used here for their size, most of which is the regular expressions that they
//! check other parts with. What is not listed is ignored, except where ignoring it would weaken a container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A container.
#[derive(Deserialize)]
pub struct Spec {
    #[serde(default)]
    pub root: Root,
    #[serde(default)]
    pub mounts: Vec<Mount>,
    pub linux: Linux,
}

/// The root file system.
#[derive(Default, Deserialize)]
pub struct Root {
    #[serde(default)]
    pub readonly: bool,
}

/// A process. It is told to the one that becomes it in the same form.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    #[serde(default)]
    pub terminal: bool,
    #[serde(default)]
    pub user: User,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub env: Vec<String>,
    pub cwd: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    #[serde(default)]
    pub rlimits: Vec<Rlimit>,
    #[serde(default)]
    pub no_new_privileges: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
}

impl Process {
    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let assignments = self.env.iter().filter_map(|text| text.split_once('='));
        assignments
            .filter(|(n, _)| *n == name)
            .map(|(_, value)| value)
            .next_back()
    }
}

/// A user by numbers.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    pub additional_gids: Vec<u32>,
}

/// Sets of capabilities, by names such as `CAP_CHOWN`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    pub bounding: Vec<String>,
    pub effective: Vec<String>,
    pub inheritable: Vec<String>,
    pub permitted: Vec<String>,
    pub ambient: Vec<String>,
}

/// A limit of setrlimit(2), by a name such as `RLIMIT_NOFILE`.
#[derive(Serialize, Deserialize)]
pub struct Rlimit {
    #[serde(rename = "type")]
    pub name: String,
    pub hard: u64,
    pub soft: u64,
}

/// A mount.
#[derive(Deserialize)]
pub struct Mount {
    pub destination: PathBuf,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub source: Option<PathBuf>,
    #[serde(default)]
    pub options: Vec<String>,
}

/// What only Linux has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    #[serde(default)]
    pub namespaces: Vec<Namespace>,
    #[serde(default)]
    pub devices: Vec<Device>,
    pub cgroups_path: Option<PathBuf>,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
    #[serde(default)]
    pub masked_paths: Vec<String>,
    #[serde(default)]
    pub readonly_paths: Vec<String>,
}

/// A namespace of the container's own, or one that it shares.
#[derive(Deserialize)]
pub struct Namespace {
    #[serde(rename = "type")]
    pub kind: String,
    pub path: Option<PathBuf>,
}

/// A device file.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    #[serde(rename = "type")]
    pub kind: String,
    pub path: PathBuf,
    #[serde(default)]
    pub major: u32,
    #[serde(default)]
    pub minor: u32,
    pub file_mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// Limits of a control group.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub memory: Option<Memory>,
    pub cpu: Option<Cpu>,
    pub pids: Option<Pids>,
    pub devices: Vec<DeviceRule>,
    pub unified: BTreeMap<String, String>,
}

/// Which devices may be used, and how; what is not said is all of it.
#[derive(Deserialize)]
pub struct DeviceRule {
    pub allow: bool,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub major: Option<i64>,
    pub minor: Option<i64>,
    pub access: Option<String>,
}

/// Memory, in bytes; -1 is no limit.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub limit: Option<i64>,
    pub reservation: Option<i64>,
    pub swap: Option<i64>,
}

/// Processors.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Cpu {
    pub shares: Option<u64>,
    pub quota: Option<i64>,
    pub period: Option<u64>,
    pub cpus: Option<String>,
    pub mems: Option<String>,
}

/// Processes; -1 is no limit.
#[derive(Deserialize)]
pub struct Pids {
    pub limit: Option<i64>,
}
