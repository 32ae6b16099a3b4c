//! The configuration of a virtual machine: one JSON document, in which open descriptors stand as numbers.

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

/// A virtual machine. Every descriptor in it is open in the process that reads it, and belongs to it from then on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `/dev/kvm`.
    pub kvm_fd: RawFd,
    /// How the guest starts.
    pub start: Start,
    /// The guest's memory in MiB.
    pub memory_mib: u64,
    /// How many vCPUs the guest has, 1 to 32.
    pub vcpus: u8,
    /// What the host's KVM asks for; see [`HostKind`].
    pub host: HostKind,
    /// A connected `SOCK_SEQPACKET` Unix socket for the messages of [`crate::control`]. When its other end is closed the VMM ends.
    pub control_fd: RawFd,
    /// A file for what the guest writes to its serial console; it is kept below [`CONSOLE_LIMIT`], the oldest lines go first.
    pub console_fd: Option<RawFd>,
    /// Disks, in the order in which the guest names them: `/dev/vda`, `/dev/vdb` and so on.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Network interfaces, in the order in which the guest names them: `eth0` and so on.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// The vsock device.
    pub vsock: Option<Vsock>,
}

/// How a guest starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Start {
    /// It boots a kernel.
    Boot {
        /// A memfd of at least [`Config::memory_mib`], which becomes the guest's memory.
        memory_fd: RawFd,
        /// The kernel, an uncompressed 64-bit ELF `vmlinux`.
        kernel_fd: RawFd,
        /// The initial root file system, a cpio archive.
        initramfs_fd: Option<RawFd>,
        /// The kernel's command line, without what the VMM adds for its devices and for this host.
        cmdline: String,
    },
    /// It goes on from a snapshot, made by this program with [`crate::control::Command::Snapshot`] of a guest that had the same number of vCPUs,
    /// as much memory, and the same devices in the same order.
    Restore {
        /// The snapshot's state.
        state_fd: RawFd,
        /// The snapshot's memory. It is mapped, and never written to: what the guest writes is its own.
        memory_fd: RawFd,
    },
}

/// The most that [`Config::console_fd`] holds, in bytes.
pub const CONSOLE_LIMIT: u64 = 256 << 10;

/// The least memory a guest is given, in MiB.
pub const MIN_MEMORY_MIB: u64 = 64;

/// The most vCPUs a guest is given.
pub const MAX_VCPUS: u8 = 32;

/// What kind of KVM the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostKind {
    /// Guest code runs on the processor in every ring: VMX or SVM.
    Hardware,
    /// Guest ring 0 is emulated, with gaps: the guest's kernel is told to keep off what is missing, and the VMM
    /// completes some of the instructions that KVM hands back.
    EmulatedRing0,
}

/// A virtio block device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// A regular file or a block device.
    pub fd: RawFd,
    /// The guest can't write to it.
    pub read_only: bool,
    /// Its size in bytes for the guest, where that is not the file's. A guest that is saved can go on with another disk of the same size.
    #[serde(default)]
    pub size: Option<u64>,
    /// The serial number the guest reads, 20 ASCII characters at most.
    #[serde(default)]
    pub serial: String,
}

/// A virtio network device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Where the guest's packets go.
    pub link: Link,
    /// The MAC address that the guest sees.
    pub mac: [u8; 6],
}

/// The host's end of a network device.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// A tap opened with `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`. The VMM sets its offloads and the header's size.
    TapFd(RawFd),
    /// A Unix stream socket, over which frames go as with QEMU's `-netdev stream`: each behind its length, a big-endian `u32`.
    StreamFd(RawFd),
}

/// A virtio socket device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// The guest's context id, 3 or more.
    pub cid: u32,
    /// A connected `SOCK_SEQPACKET` Unix socket over which connections are handed on, so that the VMM neither
    /// connects nor listens. A message is a port (`u32`, little-endian) with one connected stream socket as `SCM_RIGHTS`.
    /// From the VMM: the guest has connected to that port of the host. To the VMM: connect this to that port of the guest; when
    /// nobody listens there the VMM closes the socket.
    pub broker_fd: RawFd,
}
