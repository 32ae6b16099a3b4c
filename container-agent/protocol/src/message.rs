//! Requests, responses and the values in them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// [`RequestOf`] as the host makes it, with the specification's types.
#[cfg(feature = "oci-spec")]
pub type Request = RequestOf<oci_spec::runtime::Spec, oci_spec::runtime::Process>;

/// [`PrepareOf`] with the specification's type.
#[cfg(feature = "oci-spec")]
pub type Prepare = PrepareOf<oci_spec::runtime::Spec>;

/// [`CreateOf`] with the specification's type.
#[cfg(feature = "oci-spec")]
pub type Create = CreateOf<oci_spec::runtime::Process>;

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
    /// Makes what a container is in before it is anyone's: root file system, control group, namespaces, mounts, and a process that
    /// waits to be told who it is. A guest can be saved after this, to be resumed many times.
    Prepare(Box<PrepareOf<S>>),
    /// Makes a prepared container the one that was asked for, up to the point where its process waits to exec.
    Create(Box<CreateOf<P>>),
    /// Lets the process of a container that was created with [`CreateOptions::hold`] exec, and keeps it before its first instruction.
    /// A guest can be saved after this, to be resumed many times.
    Hold {
        /// Which container.
        id: String,
    },
    /// Makes a container whose process is held another one.
    Adopt(Box<Adopt>),
    /// Lets the container's process exec, or go on if it is held, and turns the connection into that process's stream.
    Start {
        /// Which container.
        id: String,
        /// The terminal's size at the start, for a process that has one.
        window: Option<WindowSize>,
    },
    /// Lets a container's processes stand still and nothing of their output leave the guest, so that it can be saved and gone on from
    /// without a byte that is lost or there twice; or lets both go on.
    Quiesce {
        /// Which container.
        id: String,
        /// Whether they are to stand still.
        quiet: bool,
    },
    /// Turns the connection into the stream of a running container's first process, whoever had that before, and lets a container go on
    /// that stands still.
    Attach {
        /// Which container.
        id: String,
        /// What is in the files of [`PrepareOf::files`] from now on.
        files: Vec<File>,
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
    /// Stops every process of a container, or lets them go on.
    Freeze {
        /// Which container.
        id: String,
        /// They stop.
        freeze: bool,
    },
    /// Kills a further process of a container.
    Kill {
        /// Which container.
        id: String,
        /// The process, as [`Response::Created`] has named it. One that has ended is no error.
        pid: i32,
    },
    /// Changes a container's limits.
    Limit {
        /// Which container.
        id: String,
        /// Files of its control group (version 2, and `cpu.shares`), and what is to stand in them.
        limits: BTreeMap<String, String>,
    },
    /// Changes the size of the terminal of a container's first process.
    Resize {
        /// Which container.
        id: String,
        /// The new size.
        window: WindowSize,
    },
    /// Packs, unpacks or looks at a container's files, and turns the connection into the stream of the process that does it: its
    /// standard output is the result, its standard error a sentence when it ends with another exit code than 0.
    Archive {
        /// Which container.
        id: String,
        /// What is done.
        action: ArchiveAction,
    },
    /// Kills what is left of a container, unmounts its root file system and forgets it.
    Delete {
        /// Which container.
        id: String,
    },
    /// Asks what the guest's kernel tells of a container.
    Observe {
        /// Which container.
        id: String,
        /// Of what.
        what: Observed,
    },
    /// Ends every container, writes everything back to the disks and unmounts them. After the answer the guest may be
    /// switched off at any time; it powers itself off too.
    Shutdown,
}

/// What is done with a container's files. Paths are those of its root, and no link leads out of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum ArchiveAction {
    /// Tells of a file, as an optional [`FileStat`] in JSON; a link that is the path's last name is not followed.
    Stat {
        /// Which.
        path: String,
    },
    /// Packs a file or a tree.
    Pack {
        /// Which.
        path: String,
        /// Its name in the archive.
        name: String,
    },
    /// Unpacks the archive on standard input.
    Unpack {
        /// The folder.
        path: String,
        /// With the owners that the archive says; root's otherwise.
        owners: bool,
    },
    /// Packs the whole root, without what is mounted in it.
    Export,
    /// Packs what differs from the image, as a layer.
    Layer {
        /// Paths that are left out.
        leave_out: Vec<String>,
        /// Stop the container's processes meanwhile.
        freeze: bool,
    },
    /// Lists what differs from the image: A, C or D, the path and a zero byte each.
    Changes {
        /// Paths that are left out.
        leave_out: Vec<String>,
    },
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// Its size in bytes.
    pub size: u64,
    /// Its type and permissions, as stat(2) has them.
    pub mode: u32,
    /// Where it leads to, if it is a symbolic link.
    pub link: Option<String>,
}

impl FileStat {
    /// What was found of a file, and where it leads to if it is a link.
    pub fn of(found: &std::fs::Metadata, link: Option<&std::path::Path>) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            size: found.size(),
            mode: found.mode(),
            link: link.map(|link| link.to_string_lossy().into_owned()),
        }
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }
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
    /// Files of the guest's kernel by their names, as they are: the host reads them, so that the agent stays small.
    Observed {
        /// Names and contents, [`OBSERVED_LIMIT`] bytes at most; what more there is has been left out.
        files: Vec<(String, String)>,
    },
    /// It could not be done.
    Failed(Failure),
}

/// What [`RequestOf::Observe`] asks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// What the container uses: files of its control group, by their names there.
    Usage,
    /// Its processes: `PID/stat`, `PID/status` and `PID/cmdline` of `/proc` for each, and its `uptime` and `meminfo`.
    Processes,
}

/// The most bytes that [`Response::Observed`] carries. As JSON, which needs six bytes for some, they still fit into a frame.
pub const OBSERVED_LIMIT: usize = 128 << 10;

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
    /// Not now, but perhaps soon.
    Busy,
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
    /// Its MAC address; a guest that goes on from a snapshot still has that of another.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// The network's prefix length, 0 to 32.
    pub prefix: u8,
    /// The default route.
    pub gateway: Ipv4Addr,
    /// The largest packet, in bytes.
    pub mtu: u32,
}

/// What a container is in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PrepareOf<S> {
    /// A name for it until it is created, and for its folder.
    pub name: String,
    /// The root file system.
    pub rootfs: Rootfs,
    /// The runtime specification. `root.path` is set by the agent; `process`, `hostname` and `domainname` come with [`CreateOf`].
    pub spec: S,
    /// The names of empty files to be made in `CONTAINERS_DIR/NAME`, so that `spec.mounts` can bind them.
    pub files: Vec<String>,
    /// The container gets all of the guest's devices.
    #[serde(default)]
    pub devices: bool,
    /// The guest has a network interface, which gets its address with [`RequestOf::Configure`].
    #[serde(default)]
    pub network: bool,
    /// What its processes may ask of the kernel.
    #[serde(default)]
    pub filter: Filter,
    /// A program that is likely to be run, to be brought into memory.
    #[serde(default)]
    pub program: Option<Program>,
    /// What makes and runs the container in place of the agent.
    #[serde(default)]
    pub runtime: Option<OciRuntime>,
}

/// An OCI runtime that is installed on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciRuntime {
    /// The program.
    pub program: String,
    /// The container's `config.json`, a JSON object without `process`, `hostname` and `domainname`, which come with [`CreateOf`].
    pub config: String,
}

/// A program of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name or path.
    pub name: String,
    /// Where a name is looked up, as in `PATH`; the agent's default where it is not given.
    pub search: Option<String>,
}

/// A seccomp filter for all processes of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Instructions of the kernel's `struct sock_filter` in little-endian order; empty is no filter.
    pub program: Vec<u64>,
    /// The filter lets the first process do what it does before it execs, so that it can be installed before that is known.
    pub early: bool,
}

/// Who a prepared container is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateOf<P> {
    /// The name of [`PrepareOf::name`].
    pub prepared: String,
    /// The container's id.
    pub id: String,
    /// Its first process; `user` is set by the agent when [`CreateOf::user`] is not empty.
    pub process: P,
    /// The host name.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// The user as the image or the command line has it: `name`, `uid`, `name:group`, `uid:gid`; empty is root.
    pub user: String,
    /// What is in the files of [`PrepareOf::files`].
    pub files: Vec<File>,
    /// Keep the container's standard input open for [`Kind::Stdin`](crate::Kind::Stdin) frames; otherwise it is `/dev/null`.
    pub stdin: bool,
    /// What the specification has no place for, or takes more words for.
    #[serde(default)]
    pub options: CreateOptions,
}

/// What is asked of a container's making beyond its specification. Further processes of the container are treated alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateOptions {
    /// The first process only reaps, passes signals on and ends with the command, which is its child.
    pub init: bool,
    /// Further groups of the user, by name or number.
    pub groups: Vec<String>,
    /// [`RequestOf::Hold`] follows.
    pub hold: bool,
}

/// Who a container becomes whose process has become its command and stands before its first instruction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Adopt {
    /// The id that it was created with.
    pub held: String,
    /// Its id from now on.
    pub id: String,
    /// The host name, which has the length of the one before if the process's environment names that one.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// What is in the files of [`PrepareOf::files`].
    pub files: Vec<File>,
    /// What the process finds at `AT_RANDOM`.
    pub random: [u8; 16],
}

/// Where a container's root file system is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rootfs {
    /// Devices that hold one EROFS image each, such as `/dev/vda`, the uppermost layer first. In a sandbox on the host they are files that the
    /// agent has inherited, such as `fd:4`.
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
    /// An ext4 file system on a device such as `/dev/vdc`, or in an inherited file such as `fd:5`.
    Disk {
        /// The device.
        device: String,
    },
    /// A folder of the host's, in an inherited mount such as `fd:5`.
    Folder {
        /// The mount.
        mount: String,
    },
}

/// A small file of a container's own, such as its `/etc/hosts`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct File {
    /// One path component.
    pub name: String,
    /// The bytes, as UTF-8 text.
    pub content: String,
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
