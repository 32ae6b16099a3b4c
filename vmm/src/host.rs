//! What kind of KVM this host has, found by trying it.

use std::os::fd::RawFd;

use kvm_bindings::{KVM_API_VERSION, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VcpuExit};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::config::HostKind;
use crate::{cpuid, registers};

/// `fwait; hlt`: every 64-bit processor runs it, an emulator of ring 0 may not.
const PROBE: [u8; 2] = [0x9b, 0xf4];
const PROBE_ADDRESS: GuestAddress = GuestAddress(0x1_0000);
const PROBE_MEMORY: usize = 0x2_0000;

/// Why the host can't run virtual machines.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An old or strange KVM.
    #[error("this KVM speaks API version {0}, rvm needs {KVM_API_VERSION}; update the kernel")]
    Version(i32),
    /// A capability is missing.
    #[error("this KVM lacks {0:?}, which rvm needs")]
    Capability(Cap),
    /// The probe's virtual machine could not be made.
    #[error("can't make a virtual machine to try out KVM")]
    Machine(#[source] kvm_ioctls::Error),
    /// The probe's memory could not be made.
    #[error("can't map memory to try out KVM")]
    Memory(#[source] vm_memory::mmap::FromRangesError),
    /// The probe's registers could not be set.
    #[error("can't set up a vCPU to try out KVM")]
    Registers(#[from] registers::Error),
    /// The probe's memory could not be written.
    #[error("can't write memory to try out KVM")]
    Write(#[from] vm_memory::GuestMemoryError),
}

const NEEDED: [Cap; 6] = [
    Cap::Irqchip,
    Cap::Ioeventfd,
    Cap::Irqfd,
    Cap::UserMemory,
    Cap::SetTssAddr,
    Cap::Pit2,
];

/// Tries `kvm` with a virtual machine of two instructions; takes about a millisecond.
pub fn probe(kvm: &Kvm) -> Result<HostKind, Error> {
    let version = kvm.get_api_version();
    if version != KVM_API_VERSION as RawFd {
        return Err(Error::Version(version));
    }
    if let Some(missing) = NEEDED.into_iter().find(|cap| !kvm.check_extension(*cap)) {
        return Err(Error::Capability(missing));
    }
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), PROBE_MEMORY)])
        .map_err(Error::Memory)?;
    memory.write_slice(&PROBE, PROBE_ADDRESS)?;
    let vm = kvm.create_vm().map_err(Error::Machine)?;
    let region = kvm_userspace_memory_region {
        memory_size: PROBE_MEMORY as u64,
        userspace_addr: memory.get_host_address(GuestAddress(0))? as u64,
        ..Default::default()
    };
    // SAFETY: the region is mapped memory that outlives the virtual machine: `vm` is dropped before `memory`.
    unsafe { vm.set_user_memory_region(region) }.map_err(Error::Machine)?;
    let mut vcpu = vm.create_vcpu(0).map_err(Error::Machine)?;
    registers::set_up_long_mode(&vcpu, &memory, PROBE_ADDRESS)?;
    match vcpu.run().map_err(Error::Machine)? {
        VcpuExit::InternalError => Ok(HostKind::EmulatedRing0),
        _ => Ok(HostKind::Hardware),
    }
}

/// What the guest kernel's command line needs on a host of `kind`; guest-kernel/README.md says why.
pub fn cmdline(kind: HostKind) -> String {
    match kind {
        HostKind::Hardware => String::new(),
        HostKind::EmulatedRing0 => {
            let hidden: Vec<_> = cpuid::not_emulated()
                .iter()
                .map(ToString::to_string)
                .collect();
            format!("tick_stride=20 rodata=off clearcpuid={}", hidden.join(","))
        }
    }
}
