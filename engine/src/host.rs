//! What this host has for microVMs, for a person to read.

use crate::error::chain;
use crate::microvm::{Artifacts, kind, memory_bytes, memory_mib, open_kvm};
use crate::root::Root;
use rvm_vmm::config::HostKind;
use serde::Serialize;

/// What this host has.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// The host kernel's release.
    pub kernel: String,
    /// Processors.
    pub cpus: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Memory in bytes.
    #[serde(skip)]
    pub memory_bytes: u64,
    /// What the host calls itself.
    #[serde(skip)]
    pub name: String,
    /// Its distribution.
    #[serde(skip)]
    pub operating_system: String,
    /// KVM, or why it can't be used.
    pub kvm: String,
    /// KVM's kind, when it can be used.
    pub host_kind: Option<HostKind>,
    /// What the guest kernel's command line needs on this host.
    pub host_cmdline: String,
    /// Where the VMM is, or that it is not.
    pub vmm: String,
    /// Where the guest's kernel is, or that it is not.
    pub guest_kernel: String,
}

/// Looks at the host.
pub fn info(root: &Root) -> Info {
    let (kvm, host_kind, host_cmdline) = match open_kvm().and_then(|kvm| kind(root, &kvm)) {
        Ok(report) => (describe(report.kind), Some(report.kind), report.cmdline),
        Err(error) => (
            format!("not usable: {}", chain(&error)),
            None,
            String::new(),
        ),
    };
    let (vmm, guest_kernel) = match Artifacts::find(None) {
        Ok(artifacts) => (
            artifacts.vmm.display().to_string(),
            artifacts.kernel.display().to_string(),
        ),
        Err(error) => (error.to_string(), error.to_string()),
    };
    Info {
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mib: memory_mib(),
        memory_bytes: memory_bytes(),
        name: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        operating_system: operating_system(),
        kvm,
        host_kind,
        host_cmdline,
        vmm,
        guest_kernel,
    }
}

/// As os-release(5) has it for people.
fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let mut lines = text.lines();
    let name = lines.find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn describe(kind: HostKind) -> String {
    match kind {
        HostKind::Hardware => "hardware virtualisation (VMX or SVM)".to_owned(),
        HostKind::EmulatedRing0 => {
            "programs of a guest run natively, its kernel is emulated".to_owned()
        }
    }
}
