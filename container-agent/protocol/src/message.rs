//! Requests, responses and the values in them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// [`RequestOf`] as the host makes it, with the specification's types.
#[cfg(feature = "oci-spec")]
pub type Request = RequestOf<oci_spec::runtime::Spec, oci_spec::runtime::Process>;

/// [`CreateOf`] with the specification's type.
#[cfg(feature = "oci-spec")]
pub type Create = CreateOf<oci_spec::runtime::Spec>;

/// [`ExecOf`] with the specification's type.
#[cfg(feature = "oci-spec")]
pub type Exec = ExecOf<oci_spec::runtime::Process>;

/// What the host asks of the agent. `S` and `P` stand for a runtime specification and its process: the agent, whose size is paid
/// at every cold start, reads the same JSON into types that hold only what it acts upon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum RequestOf<S, P> {
    /// Gives the guest what makes it this guest. Sent before the first [`RequestOf::Create`], and again after a resume.
    Configure(Guest),
    /// Mounts the root file system and makes the container, up to the point where its process waits to exec.
    Create(Box<CreateOf<S>>),
    /// Lets the container's process exec, and turns the connection into that process's stream.
    Start {
        /// Which container.
        id: String,
        /// The terminal's size at the start, for a process that has one.
        window: Option<WindowSize>,
    },
    /// Runs a further process in a running container, and turns the connection into that process's stream.
    Exec(Box<ExecOf<P>>),
    /// Sends a signal to a container's first process.
    Signal {
        /// Which container.
        id: String,
        /// The signal's number on x86-64.
        signal: i32,
        /// Send it to every process of the container rather than only to the first one.
        all: bool,
    },
    /// Changes the size of the terminal of a container's first process.
    Resize {
        /// Which container.
        id: String,
        /// The new size.
        window: WindowSize,
    },
    /// Kills what is left of a container, unmounts its root file system and forgets it.
    Delete {
        /// Which container.
        id: String,
    },
    /// Ends every container, writes everything back to the disks and unmounts them. After the answer the guest may be
    /// switched off at any time; it powers itself off too.
    Shutdown,
}

/// What the agent answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// Done.
    Ok,
    /// The container or the process has been made; `pid` is its process id as the guest's root namespace sees it.
    Created {
        /// The process id.
        pid: i32,
    },
    /// It could not be done.
    Failed(Failure),
}

/// Why a request failed.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind, which decides the command's exit code.
    pub kind: FailureKind,
    /// A sentence for the user, without a full stop.
    pub message: String,
}

/// Kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The command does not exist in the container: exit code 127.
    CommandNotFound,
    /// The command exists but can't be run (no permission, a directory, not a program): exit code 126.
    CommandNotExecutable,
    /// The user or group is not known in the image: exit code 125.
    UnknownUser,
    /// No container of that id, or not in a state for the request.
    NoSuchContainer,
    /// Anything else: exit code 125.
    Other,
}

/// What makes a guest this guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Guest {
    /// Wall-clock time of sending, in nanoseconds since the epoch.
    pub time_ns: u64,
    /// Fresh random bytes to mix into the kernel's pool before it is reseeded.
    pub entropy: Vec<u8>,
    /// The host name, without domain.
    pub hostname: String,
    /// How the guest's one network interface is set up; without it there is only loopback.
    pub network: Option<Network>,
    /// Kernel parameters, dotted as for sysctl(8).
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
}

/// The guest's network interface `eth0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// The network's prefix length, 0 to 32.
    pub prefix: u8,
    /// The default route.
    pub gateway: Ipv4Addr,
    /// The largest packet, in bytes.
    pub mtu: u32,
}

/// A container to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateOf<S> {
    /// The container's id.
    pub id: String,
    /// The root file system.
    pub rootfs: Rootfs,
    /// The runtime specification. `root.path` is set by the agent, and so is `process.user` when [`CreateOf::user`] is not empty.
    pub spec: S,
    /// The user as the image or the command line has it: `name`, `uid`, `name:group`, `uid:gid`; empty is root.
    pub user: String,
    /// Files to be written to `CONTAINERS_DIR/ID/NAME` before the container is made, so that `spec.mounts` can bind them.
    pub files: Vec<File>,
    /// Keep the container's standard input open for [`Kind::Stdin`](crate::Kind::Stdin) frames; otherwise it is `/dev/null`.
    pub stdin: bool,
}

/// Where a container's root file system is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rootfs {
    /// Devices that hold one EROFS image each, such as `/dev/vda`, the uppermost layer first.
    pub layers: Vec<String>,
    /// What lies above them.
    pub writable: Writable,
}

/// A root file system's uppermost, writable part.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Writable {
    /// Memory of the guest, gone when the guest ends.
    Tmpfs {
        /// Bytes at most; the kernel's default (half of memory) where it is not given.
        size: Option<u64>,
    },
    /// An ext4 file system on a device such as `/dev/vdc`.
    Disk {
        /// The device.
        device: String,
    },
}

/// A small file of a container's own, such as its `/etc/hosts`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct File {
    /// One path component.
    pub name: String,
    /// The bytes, as UTF-8 text.
    pub content: String,
    /// Permission bits.
    pub mode: u32,
}

/// A further process in a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecOf<P> {
    /// Which container.
    pub id: String,
    /// The process; its `user` is set by the agent when [`ExecOf::user`] is not empty.
    pub process: P,
    /// As [`CreateOf::user`].
    pub user: String,
    /// As [`CreateOf::stdin`].
    pub stdin: bool,
    /// The terminal's size at the start, for a process that has one.
    pub window: Option<WindowSize>,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It called exit.
    Code(u8),
    /// A signal ended it.
    Signal(i32),
    /// The guest's kernel killed it, or a process of its container, for want of memory.
    OutOfMemory,
}

impl ExitStatus {
    /// The code that Docker shows: the exit code, or 128 and the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => i32::from(code),
            Self::Signal(signal) => 128 + signal,
            Self::OutOfMemory => 128 + 9,
        }
    }
}
