//! What the program that runs inside a container and its caller outside tell each other: one line of JSON each way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the caller asks for, a line on standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// How long each workload may take, in milliseconds.
    pub budget_ms: u64,
    /// What to measure.
    pub workloads: Vec<Work>,
}

/// What the program says first, a line on standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// The port on which it serves the network's workloads.
    pub port: u16,
}

/// What was measured, a line on standard output.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// Of each workload nanoseconds per operation, or bytes or operations per second.
    pub figures: BTreeMap<Work, f64>,
    /// Why a workload could not be measured.
    pub failures: BTreeMap<Work, String>,
}

/// Work that is done and measured inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// `getppid`: nanoseconds.
    Syscall,
    /// `fork`, `execve` and `wait4` of this program: nanoseconds.
    Fork,
    /// The first touch of a page: nanoseconds.
    Fault,
    /// Integer arithmetic: steps per second.
    Cpu,
    /// From memory to memory: bytes copied per second.
    Bandwidth,
    /// Into a file in the writable layer, and onto the disk: bytes per second.
    Write,
    /// Out of that file, through the page cache: bytes per second.
    Read,
}

/// The port on which the program listens inside.
pub const PORT: u16 = 7007;

/// What a client of the network's workloads sends first: what it gets is what it sent.
pub const ECHO: u8 = b'e';

/// What a client of the network's workloads sends first: for each block that has come over it gets a byte.
pub const SINK: u8 = b's';

/// The size of a message of [`ECHO`].
pub const MESSAGE: usize = 64;

/// The size of a block of [`SINK`].
pub const BLOCK: usize = 64 << 10;

/// What was found by looking around inside, a line on standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The kernel's release.
    pub kernel: String,
    /// What the kernel calls this boot.
    pub boot_id: String,
    /// Seconds since the kernel's start.
    pub uptime: u64,
    /// The kernel's command line.
    pub cmdline: String,
    /// The processor, as the kernel names it.
    pub processor: String,
    /// Processors that the kernel knows.
    pub processors: usize,
    /// Memory in KiB, as the kernel tells it.
    pub memory_kib: u64,
    /// The processes that can be seen.
    pub processes: Vec<String>,
    /// The device nodes in `/dev`, without terminals.
    pub devices: Vec<String>,
    /// The disks that the kernel tells of in `/sys/block`, whether they can be opened or not.
    pub disks: Vec<String>,
    /// System calls that were tried with arguments that change nothing, and what came of it.
    pub calls: BTreeMap<String, Reach>,
    /// Whether a process can make itself a user namespace.
    pub user_namespaces: bool,
    /// Files of the kernel that could be opened for writing; nothing was written.
    pub writable: Vec<String>,
    /// Whether anything can be read of `/proc/kcore`.
    pub kcore: bool,
    /// Whether `/proc/kallsyms` tells addresses.
    pub kernel_addresses: bool,
    /// Whether the kernel's log can be read.
    pub kernel_log: bool,
    /// Sockets of the host's services that are there.
    pub sockets: Vec<String>,
    /// Abstract sockets in the network namespace.
    pub abstract_sockets: usize,
    /// The identities of the namespaces.
    pub namespaces: BTreeMap<String, String>,
    /// The names of the effective capabilities.
    pub capabilities: Vec<String>,
    /// The mode of seccomp: 0 none, 2 a filter.
    pub seccomp: u8,
    /// Whether no further privileges can be had.
    pub no_new_privileges: bool,
    /// The path of the control group, as the process sees it.
    pub cgroup: String,
    /// Whether the clock could be set; it was not.
    pub clock: bool,
}

/// How far a system call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// The kernel looked at the arguments.
    Reachable,
    /// It was refused.
    Refused,
    /// There is no such call.
    Absent,
}
