//! What the host has for microVMs: its KVM, examined once a boot, and its memory.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;

use kvm_ioctls::Kvm;
use rustix::fs::{Mode, OFlags};
use rvm_vmm::config::HostKind;
use serde::{Deserialize, Serialize};

use crate::root::Root;

/// Why the host can't run microVMs.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no KVM.
    #[error(
        "this host has no /dev/kvm, and a container here runs in a KVM virtual machine: switch virtualisation on in the \
         firmware (or nested virtualisation in the cloud's settings) and load the module kvm_intel or kvm_amd"
    )]
    NoKvm,
    /// KVM is not for this user.
    #[error(
        "no permission to open /dev/kvm: run rvm as root, or join the group kvm ('sudo usermod -aG kvm $USER', then log in again)"
    )]
    Permission,
    /// KVM is not usable.
    #[error("cannot open /dev/kvm")]
    Open(#[source] io::Error),
    /// KVM could not be examined.
    #[error("this host's KVM can't run a microVM")]
    Probe(#[source] rvm_vmm::host::Error),
}

/// What an examination found, and for which boot it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// The kernel's boot id.
    pub boot: String,
    /// The host kernel's release.
    pub kernel: String,
    /// What was found.
    pub kind: HostKind,
    /// What the guest kernel's command line needs for it.
    pub cmdline: String,
}

/// Opens `/dev/kvm`.
pub fn open_kvm() -> Result<OwnedFd, HostError> {
    rustix::fs::open("/dev/kvm", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
        match io::Error::from(errno) {
            e if e.kind() == ErrorKind::NotFound
                || errno == rustix::io::Errno::NXIO
                || errno == rustix::io::Errno::NODEV =>
            {
                HostError::NoKvm
            }
            e if e.kind() == ErrorKind::PermissionDenied => HostError::Permission,
            e => HostError::Open(e),
        }
    })
}

/// What kind of KVM the host has: as found before in this boot, or as `kvm` shows now.
pub fn kind(root: &Root, kvm: &OwnedFd) -> Result<HostReport, HostError> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned();
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let known = fs::read(root.host())
        .ok()
        .and_then(|text| serde_json::from_slice::<HostReport>(&text).ok());
    if let Some(known) =
        known.filter(|known| known.boot == boot && known.kernel == kernel && !boot.is_empty())
    {
        return Ok(known);
    }
    let fd = kvm.try_clone().map_err(HostError::Open)?.into_raw_fd();
    // SAFETY: the descriptor was just made for it, is /dev/kvm, and nobody else closes it.
    let probed = unsafe { Kvm::from_raw_fd(fd) };
    let kind = rvm_vmm::host::probe(&probed).map_err(HostError::Probe)?;
    let cmdline = rvm_vmm::host::cmdline(kind);
    let report = HostReport {
        boot,
        kernel,
        kind,
        cmdline,
    };
    if let Err(error) = store(&root.host(), &report) {
        tracing::debug!(%error, "the host's examination is not remembered");
    }
    Ok(report)
}

/// Replaces the file in one step, so that no reader meets half of it.
fn store(path: &Path, report: &HostReport) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    serde_json::to_writer(&mut file, report)?;
    file.persist(path)?;
    Ok(())
}

/// The host's memory in MiB.
pub fn memory_mib() -> u64 {
    memory_bytes() >> 20
}

/// The host's memory in bytes.
pub fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(info.mem_unit.into())
}
