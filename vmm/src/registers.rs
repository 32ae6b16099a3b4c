//! The registers a boot processor starts with, in 64-bit mode, as the 64-bit Linux boot protocol asks.

use kvm_bindings::{Msrs, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::layout::{GDT, PAGE_DIRECTORY, PDPT, PML4, ZERO_PAGE};

const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
/// Null, an unused entry, flat 64-bit code, flat data: the selectors are those of the boot protocol, `__BOOT_CS` and `__BOOT_DS`.
const GDT_ENTRIES: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

const CR0_PE: u64 = 1;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const PAGE_PRESENT_WRITABLE: u64 = 0b11;
const PAGE_LARGE: u64 = 1 << 7;

const MSR_MISC_ENABLE: u32 = 0x1a0;
const MISC_ENABLE_FAST_STRING: u64 = 1;
const MSR_MTRR_DEF_TYPE: u32 = 0x2ff;
const MTRR_ENABLE_WRITE_BACK: u64 = 1 << 11 | 6;

/// Why a vCPU could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// KVM refused.
    #[error("can't set the boot processor's {0}")]
    Set(&'static str, #[source] kvm_ioctls::Error),
    /// Guest memory could not be written.
    #[error("can't write the boot processor's tables into guest memory")]
    Tables(#[from] GuestMemoryError),
}

/// Writes descriptor and page tables (identity, the first GiB) and makes `vcpu` start at `entry` in 64-bit mode.
pub fn set_up_long_mode(
    vcpu: &VcpuFd,
    memory: &GuestMemoryMmap,
    entry: GuestAddress,
) -> Result<(), Error> {
    write_tables(memory)?;
    let code = segment(CODE_SELECTOR, 11, true);
    let data = segment(DATA_SELECTOR, 3, false);
    let mut sregs = vcpu
        .get_sregs()
        .map_err(|e| Error::Set("system registers", e))?;
    sregs.gdt.base = GDT.0;
    sregs.gdt.limit = size_of_val(&GDT_ENTRIES) as u16 - 1;
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    sregs.cs = code;
    for register in [
        &mut sregs.ds,
        &mut sregs.es,
        &mut sregs.fs,
        &mut sregs.gs,
        &mut sregs.ss,
    ] {
        *register = data;
    }
    sregs.tr = kvm_segment {
        limit: 0xffff,
        type_: 11,
        present: 1,
        ..Default::default()
    };
    sregs.cr3 = PML4.0;
    sregs.cr4 |= CR4_PAE;
    sregs.cr0 |= CR0_PE | CR0_PG;
    sregs.efer |= EFER_LME | EFER_LMA;
    vcpu.set_sregs(&sregs)
        .map_err(|e| Error::Set("system registers", e))?;

    let regs = kvm_regs {
        rflags: 2,
        rip: entry.0,
        rsi: ZERO_PAGE.0,
        ..Default::default()
    };
    vcpu.set_regs(&regs).map_err(|e| Error::Set("registers", e))
}

/// Gives the floating-point unit and the MSRs the values that a firmware leaves.
pub fn set_up_firmware_state(vcpu: &VcpuFd) -> Result<(), Error> {
    let fpu = kvm_fpu {
        fcw: 0x37f,
        mxcsr: 0x1f80,
        ..Default::default()
    };
    vcpu.set_fpu(&fpu)
        .map_err(|e| Error::Set("floating-point unit", e))?;
    let entries = [
        kvm_msr_entry {
            index: MSR_MISC_ENABLE,
            data: MISC_ENABLE_FAST_STRING,
            ..Default::default()
        },
        kvm_msr_entry {
            index: MSR_MTRR_DEF_TYPE,
            data: MTRR_ENABLE_WRITE_BACK,
            ..Default::default()
        },
    ];
    for entry in entries {
        let msr = Msrs::from_entries(&[entry])
            .map_err(|_| Error::Set("MSRs", kvm_ioctls::Error::new(libc::EINVAL)))?;
        // A host that does not know one of them leaves it out, and the guest does without it.
        let set = vcpu.set_msrs(&msr).map_err(|e| Error::Set("MSRs", e))?;
        if set == 0 {
            tracing::debug!(index = entry.index, "KVM does not know this MSR");
        }
    }
    Ok(())
}

fn write_tables(memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    for (index, entry) in GDT_ENTRIES.iter().enumerate() {
        memory.write_obj(*entry, GuestAddress(GDT.0 + 8 * index as u64))?;
    }
    memory.write_obj(PDPT.0 | PAGE_PRESENT_WRITABLE, PML4)?;
    memory.write_obj(PAGE_DIRECTORY.0 | PAGE_PRESENT_WRITABLE, PDPT)?;
    for index in 0..512u64 {
        let page = index << 21 | PAGE_LARGE | PAGE_PRESENT_WRITABLE;
        memory.write_obj(page, GuestAddress(PAGE_DIRECTORY.0 + 8 * index))?;
    }
    Ok(())
}

fn segment(selector: u16, type_: u8, code: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: u8::from(!code),
        s: 1,
        l: u8::from(code),
        g: 1,
        ..Default::default()
    }
}
