//! Starts `rvm-vmm` as `rvm` does: every descriptor inherited, the configuration on one of them.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use rvm_vmm::config::{Config, HostKind, Start};
use rvm_vmm::control::{Event, MAX_MESSAGE};

/// Guest memory, in MiB.
pub const MEMORY_MIB: u64 = 64;
const FIRST_FD: i32 = 3;

/// A VMM process, killed when this goes.
pub struct Vmm {
    pub process: Child,
    pub control: OwnedFd,
    pub console: File,
}

/// Whether this machine has a KVM to test with; says so loudly when not.
pub fn has_kvm() -> bool {
    let has = File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    if !has {
        eprintln!("SKIPPED: no /dev/kvm that can be opened; nothing of this test has run");
    }
    has
}

/// Starts a guest whose kernel is `kernel`, after `change` has had its way with the configuration.
pub fn start(kernel: &[u8], change: impl FnOnce(&mut Config)) -> Vmm {
    start_as(
        Command::new(env!("CARGO_BIN_EXE_rvm-vmm")),
        kernel,
        Vec::new(),
        change,
    )
}

/// The number that the first of [`start_as`]'s further descriptors has in the VMM.
pub const FURTHER_FD: i32 = FIRST_FD + 6;

/// As [`start`], with a command of one's own and with further descriptors.
pub fn start_as(
    mut command: Command,
    kernel: &[u8],
    further: Vec<OwnedFd>,
    change: impl FnOnce(&mut Config),
) -> Vmm {
    let kvm = File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .expect("open /dev/kvm");
    let host = rvm_vmm::host::probe(&kvm_ioctls::Kvm::new().expect("KVM")).expect("probe");
    let memory = memfd_create("guest", MemfdFlags::CLOEXEC).expect("memfd");
    ftruncate(&memory, MEMORY_MIB << 20).expect("ftruncate");
    let console = tempfile::tempfile().expect("console");
    let (control, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("socketpair");
    let passed: Vec<OwnedFd> = vec![
        kvm.into(),
        memory,
        file_with(kernel).into(),
        theirs,
        console.try_clone().expect("dup").into(),
    ];
    let fd = |index: i32| FIRST_FD + 1 + index;
    let mut config = Config {
        kvm_fd: fd(0),
        start: Start::Boot {
            memory_fd: fd(1),
            kernel_fd: fd(2),
            initramfs_fd: None,
            cmdline: String::new(),
        },
        memory_mib: MEMORY_MIB,
        vcpus: 1,
        host: if host == HostKind::Hardware {
            host
        } else {
            HostKind::EmulatedRing0
        },
        control_fd: fd(3),
        console_fd: Some(fd(4)),
        disks: Vec::new(),
        networks: Vec::new(),
        vsock: None,
    };
    change(&mut config);
    let config = file_with(&serde_json::to_vec(&config).expect("JSON"));
    let mappings = std::iter::once(config.into())
        .chain(passed)
        .chain(further)
        .zip(FIRST_FD..)
        .map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        })
        .collect();
    let process = command
        .args(["--config-fd", &FIRST_FD.to_string(), "--log-level", "debug"])
        .stdin(Stdio::null())
        .fd_mappings(mappings)
        .expect("descriptors")
        .spawn()
        .expect("rvm-vmm");
    Vmm {
        process,
        control,
        console,
    }
}

impl Vmm {
    /// The next event; `None` when the VMM has closed its end.
    pub fn event(&self) -> Option<Event> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let (length, _) = recv(&self.control, &mut buffer[..], RecvFlags::empty()).expect("recv");
        (length > 0).then(|| serde_json::from_slice(&buffer[..length]).expect("an event"))
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An unnamed file with `content`, read from its start.
fn file_with(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("temporary file");
    file.write_all(content).expect("write");
    reopened(&file)
}

/// `file` with a position of its own, at its start.
pub fn reopened(file: &File) -> File {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::open(path).expect("reopen")
}

/// A `vmlinux` of one segment that runs `code` at 1 MiB.
pub fn kernel(code: &[u8]) -> Vec<u8> {
    const ENTRY: u64 = 0x10_0000;
    const HEADERS: u64 = 64 + 56;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |bytes: &[u8]| elf.extend_from_slice(bytes);
    put(&2u16.to_le_bytes());
    put(&62u16.to_le_bytes());
    put(&1u32.to_le_bytes());
    for value in [ENTRY, 64, 0] {
        put(&value.to_le_bytes());
    }
    put(&0u32.to_le_bytes());
    for value in [64u16, 56, 1, 0, 0, 0] {
        put(&value.to_le_bytes());
    }
    put(&1u32.to_le_bytes());
    put(&7u32.to_le_bytes());
    let length = code.len() as u64;
    for value in [HEADERS, ENTRY, ENTRY, length, length, 0x1000] {
        put(&value.to_le_bytes());
    }
    put(code);
    elf
}
