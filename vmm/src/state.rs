//! The state of a stopped virtual machine, taken from KVM and given back to it.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, Msrs, kvm_clock_data,
    kvm_cpuid_entry2, kvm_debugregs, kvm_irqchip, kvm_lapic_state, kvm_mp_state, kvm_msr_entry,
    kvm_pit_state2, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use rvm_devices::legacy::serial::SerialState;
use rvm_devices::virtio::state::TransportState;
use serde::{Deserialize, Serialize};

/// The local APIC's timer deadline: it has no effect before the counter and the local APIC are as they were.
const MSR_TSC_DEADLINE: u32 = 0x6e0;

/// A virtual machine but for its memory.
#[derive(Serialize, Deserialize)]
pub struct MachineState {
    /// Memory in MiB.
    pub memory_mib: u64,
    /// What CPUID tells the guest, without the vCPUs' own numbers.
    pub cpuid: Vec<kvm_cpuid_entry2>,
    /// The vCPUs.
    pub vcpus: Vec<VcpuState>,
    /// Interrupt chips, timer and clock.
    pub chips: ChipState,
    /// The serial console.
    pub serial: SerialState,
    /// The virtio devices, in the order of their addresses.
    pub devices: Vec<TransportState>,
}

/// A vCPU.
#[derive(Serialize, Deserialize)]
pub struct VcpuState {
    mp_state: kvm_mp_state,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    debug: kvm_debugregs,
    lapic: kvm_lapic_state,
    msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
}

/// What a virtual machine's vCPUs share.
#[derive(Serialize, Deserialize)]
pub struct ChipState {
    irqchips: Vec<kvm_irqchip>,
    pit: kvm_pit_state2,
    clock: kvm_clock_data,
}

/// Why a state could not be taken or given back.
#[derive(Debug, thiserror::Error)]
#[error("KVM can't {action} the {what}")]
pub struct Error {
    action: &'static str,
    what: &'static str,
    source: kvm_ioctls::Error,
}

fn saving(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Error {
    move |source| Error {
        action: "save",
        what,
        source,
    }
}

fn restoring(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Error {
    move |source| Error {
        action: "restore",
        what,
        source,
    }
}

/// The MSRs that make up a vCPU's state on this host.
pub fn msr_indices(kvm: &Kvm) -> Result<Vec<u32>, Error> {
    Ok(kvm
        .get_msr_index_list()
        .map_err(saving("list of MSRs"))?
        .as_slice()
        .to_vec())
}

impl VcpuState {
    /// Takes the state of a vCPU that does not run; of `msrs` those that it has.
    pub fn save(vcpu: &VcpuFd, msrs: &[u32]) -> Result<Self, Error> {
        // First of all: KVM completes pending INITs and SIPIs in it.
        let mp_state = vcpu.get_mp_state().map_err(saving("run state"))?;
        Ok(Self {
            mp_state,
            regs: vcpu.get_regs().map_err(saving("registers"))?,
            sregs: vcpu.get_sregs().map_err(saving("system registers"))?,
            xsave: vcpu.get_xsave().map_err(saving("extended state"))?,
            xcrs: vcpu
                .get_xcrs()
                .map_err(saving("extended control registers"))?,
            debug: vcpu.get_debug_regs().map_err(saving("debug registers"))?,
            lapic: vcpu.get_lapic().map_err(saving("local APIC"))?,
            msrs: save_msrs(vcpu, msrs)?,
            events: vcpu.get_vcpu_events().map_err(saving("pending events"))?,
        })
    }

    /// Gives the state to a new vCPU whose CPUID has been set.
    pub fn restore(&self, vcpu: &VcpuFd) -> Result<(), Error> {
        vcpu.set_mp_state(self.mp_state)
            .map_err(restoring("run state"))?;
        vcpu.set_regs(&self.regs).map_err(restoring("registers"))?;
        vcpu.set_sregs(&self.sregs)
            .map_err(restoring("system registers"))?;
        // SAFETY: no extended feature that needs more than the 4096 bytes of `kvm_xsave` is ever enabled for a guest: that takes
        // an arch_prctl(2) that this program does not make.
        unsafe { vcpu.set_xsave(&self.xsave) }.map_err(restoring("extended state"))?;
        vcpu.set_xcrs(&self.xcrs)
            .map_err(restoring("extended control registers"))?;
        vcpu.set_debug_regs(&self.debug)
            .map_err(restoring("debug registers"))?;
        vcpu.set_lapic(&self.lapic)
            .map_err(restoring("local APIC"))?;
        let (deadline, others): (Vec<_>, Vec<_>) = self
            .msrs
            .iter()
            .partition(|msr| msr.index == MSR_TSC_DEADLINE);
        restore_msrs(vcpu, &others)?;
        restore_msrs(vcpu, &deadline)?;
        vcpu.set_vcpu_events(&self.events)
            .map_err(restoring("pending events"))
    }
}

fn save_msrs(vcpu: &VcpuFd, indices: &[u32]) -> Result<Vec<kvm_msr_entry>, Error> {
    let mut saved = Vec::with_capacity(indices.len());
    let mut rest = indices;
    while !rest.is_empty() {
        let wanted: Vec<_> = rest
            .iter()
            .map(|&index| kvm_msr_entry {
                index,
                ..Default::default()
            })
            .collect();
        let mut msrs = msrs(&wanted)?;
        let got = vcpu
            .get_msrs(&mut msrs)
            .map_err(saving("MSRs"))?
            .min(rest.len());
        saved.extend_from_slice(&msrs.as_slice()[..got]);
        // KVM stops at the first one that this vCPU does not have.
        rest = &rest[(got + 1).min(rest.len())..];
    }
    Ok(saved)
}

fn restore_msrs(vcpu: &VcpuFd, entries: &[&kvm_msr_entry]) -> Result<(), Error> {
    let entries: Vec<_> = entries.iter().map(|entry| **entry).collect();
    let mut rest = entries.as_slice();
    while !rest.is_empty() {
        let set = vcpu
            .set_msrs(&msrs(rest)?)
            .map_err(restoring("MSRs"))?
            .min(rest.len());
        if let Some(refused) = rest.get(set) {
            // Some can be read but only be written with the value that they have anyway.
            tracing::debug!(index = refused.index, "KVM does not take this MSR back");
        }
        rest = &rest[(set + 1).min(rest.len())..];
    }
    Ok(())
}

fn msrs(entries: &[kvm_msr_entry]) -> Result<Msrs, Error> {
    let too_many = |_| saving("MSRs: too many of them")(kvm_ioctls::Error::new(libc::E2BIG));
    Msrs::from_entries(entries).map_err(too_many)
}

impl ChipState {
    /// Takes the state while no vCPU runs.
    pub fn save(vm: &VmFd) -> Result<Self, Error> {
        let irqchips = [
            KVM_IRQCHIP_PIC_MASTER,
            KVM_IRQCHIP_PIC_SLAVE,
            KVM_IRQCHIP_IOAPIC,
        ]
        .into_iter()
        .map(|chip_id| {
            let mut chip = kvm_irqchip {
                chip_id,
                ..Default::default()
            };
            vm.get_irqchip(&mut chip)
                .map_err(saving("interrupt chips"))?;
            Ok(chip)
        })
        .collect::<Result<_, Error>>()?;
        let mut clock = vm.get_clock().map_err(saving("clock"))?;
        // What the flags say about the host at the time of saving is no setting.
        clock.flags = 0;
        Ok(Self {
            irqchips,
            pit: vm.get_pit2().map_err(saving("timer chip"))?,
            clock,
        })
    }

    /// Gives the state to a new virtual machine that has these chips.
    pub fn restore(&self, vm: &VmFd) -> Result<(), Error> {
        for chip in &self.irqchips {
            vm.set_irqchip(chip).map_err(restoring("interrupt chips"))?;
        }
        vm.set_pit2(&self.pit).map_err(restoring("timer chip"))?;
        vm.set_clock(&self.clock).map_err(restoring("clock"))
    }
}
