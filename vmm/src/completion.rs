//! Completing instructions that KVM's emulator hands back.

use kvm_bindings::{KVM_EXIT_INTERNAL_ERROR, KVM_INTERNAL_ERROR_EMULATION};
use kvm_ioctls::VcpuFd;
use vm_memory::GuestMemoryMmap;

use crate::exception::{Exception, advance};
use crate::xsave;

const INT3: u8 = 0xcc;
const FWAIT: u8 = 0x9b;
const BREAKPOINT_VECTOR: u8 = 3;
/// `KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES`
const FLAG_INSTRUCTION_BYTES: u64 = 1;

/// The bytes at the instruction that KVM could not emulate, where its last exit was for that.
pub fn failed_instruction(vcpu: &mut VcpuFd) -> Option<Vec<u8>> {
    let run = vcpu.get_kvm_run();
    if run.exit_reason != KVM_EXIT_INTERNAL_ERROR {
        return None;
    }
    // SAFETY: the last exit was KVM_EXIT_INTERNAL_ERROR, which fills this member of the union; every bit pattern is valid.
    let failure = unsafe { run.__bindgen_anon_1.emulation_failure };
    if failure.suberror != KVM_INTERNAL_ERROR_EMULATION {
        return None;
    }
    // SAFETY: as above; the inner union has a single member.
    let instruction = unsafe { failure.__bindgen_anon_1.__bindgen_anon_1 };
    if failure.ndata < 3 || failure.flags & FLAG_INSTRUCTION_BYTES == 0 {
        return None;
    }
    let length = usize::from(instruction.insn_size).min(instruction.insn_bytes.len());
    Some(instruction.insn_bytes[..length].to_vec())
}

/// Does what `instruction` would have done and moves the vCPU past it; `false` when it is none of those known here.
pub fn complete(
    vcpu: &VcpuFd,
    memory: &GuestMemoryMmap,
    instruction: &[u8],
) -> Result<bool, kvm_ioctls::Error> {
    match instruction.first() {
        Some(&INT3) => {
            advance(vcpu, 1)?;
            let breakpoint = Exception {
                vector: BREAKPOINT_VECTOR,
                code: None,
                address: None,
            };
            breakpoint.raise(vcpu)?;
            Ok(true)
        }
        // It reports pending x87 exceptions; a kernel runs it only to clear them.
        Some(&FWAIT) => {
            advance(vcpu, 1)?;
            Ok(true)
        }
        _ => xsave::complete(vcpu, memory, instruction),
    }
}
