//! XSAVE and XRSTOR in their standard form, which KVM's emulator does not know (Intel SDM, volume 1, sections 13.4 to 13.8).
//!
//! Where ring 0 is emulated, programs run natively and use the registers of AVX and its like whatever CPUID they are meant to see:
//! a guest kernel that did not save these would mix up its programs' data.

use std::arch::x86_64::__cpuid_count;
use std::ops::Range;

use kvm_bindings::{kvm_regs, kvm_sregs, kvm_xsave};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::exception::{Exception, advance};

const LEAF_XSAVE: u32 = 0xd;
const X87: u64 = 1;
const SSE: u64 = 1 << 1;
const AVX: u64 = 1 << 2;
/// Where `XSTATE_BV` is, the components that an area holds.
const STATE_BITS: Range<usize> = 512..520;
/// Where `XCOMP_BV` and what is reserved after it are.
const HEADER_ZEROS: Range<usize> = 520..576;
const HEADER_END: usize = 576;
/// The size of `kvm_xsave`; no component beyond it is ever enabled for a guest.
const AREA: usize = 4096;

const PAGE: u64 = 4096;
const CR4_LA57: u64 = 1 << 12;
const ENTRY_PRESENT: u64 = 1;
const ENTRY_WRITABLE: u64 = 1 << 1;
const ENTRY_LARGE: u64 = 1 << 7;
const ENTRY_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The bits of a selector that say which ring it was loaded for.
const REQUESTED_PRIVILEGE: u16 = 3;
const PAGE_FAULT: u8 = 14;
const PAGE_FAULT_WRITE: u32 = 1 << 1;
const GENERAL_PROTECTION: u8 = 13;

/// One of the two instructions, decoded.
#[derive(Debug, PartialEq, Eq)]
struct Instruction {
    saves: bool,
    /// Where its area is, as a linear address.
    address: u64,
    length: u64,
}

/// Why a completion failed.
enum Failure {
    Exception(Exception),
    Kvm(kvm_ioctls::Error),
}

impl From<kvm_ioctls::Error> for Failure {
    fn from(error: kvm_ioctls::Error) -> Self {
        Self::Kvm(error)
    }
}

/// Does what `bytes` would have done and moves the vCPU past it, or raises the exception that it would have raised; `false` when it
/// is neither XSAVE nor XRSTOR, or not a kernel's: page tables are walked with the rights of ring 0.
pub fn complete(
    vcpu: &VcpuFd,
    memory: &GuestMemoryMmap,
    bytes: &[u8],
) -> Result<bool, kvm_ioctls::Error> {
    let regs = vcpu.get_regs()?;
    let Some(instruction) = decode(bytes, &regs) else {
        return Ok(false);
    };
    let sregs = vcpu.get_sregs()?;
    if sregs.cs.selector & REQUESTED_PRIVILEGE != 0 {
        return Ok(false);
    }
    match execute(vcpu, memory, &regs, &sregs, &instruction) {
        Ok(()) => advance(vcpu, instruction.length)?,
        Err(Failure::Exception(exception)) => exception.raise(vcpu)?,
        Err(Failure::Kvm(error)) => return Err(error),
    }
    Ok(true)
}

fn execute(
    vcpu: &VcpuFd,
    memory: &GuestMemoryMmap,
    regs: &kvm_regs,
    sregs: &kvm_sregs,
    instruction: &Instruction,
) -> Result<(), Failure> {
    let enabled = vcpu.get_xcrs()?.xcrs[0].value;
    let asked = enabled & (regs.rdx << 32 | regs.rax & 0xffff_ffff);
    let end = components(asked).fold(HEADER_END, |end, (_, range)| end.max(range.end));
    let pages = pages(memory, sregs, instruction.address, end, instruction.saves)
        .map_err(Failure::Exception)?;
    let mut area = [0; AREA];
    let area = &mut area[..end];
    for (address, range) in &pages {
        let read = memory.read_slice(&mut area[range.clone()], *address);
        read.map_err(|_| Failure::Exception(general_protection()))?;
    }
    let registers = vcpu.get_xsave()?;
    let mut registers_area = bytes_of(&registers);
    let area_holds = state_bits(area);
    let registers_hold = state_bits(&registers_area);
    if instruction.saves {
        copy(&registers_area, area, asked);
        let holds = area_holds & !asked | registers_hold & asked;
        area[STATE_BITS].copy_from_slice(&holds.to_le_bytes());
        for (address, range) in &pages {
            let write = memory.write_slice(&area[range.clone()], *address);
            write.map_err(|_| Failure::Exception(general_protection()))?;
        }
    } else {
        let is_standard = area[HEADER_ZEROS].iter().all(|byte| *byte == 0);
        if !is_standard || area_holds & !enabled != 0 {
            return Err(Failure::Exception(general_protection()));
        }
        copy(area, &mut registers_area, asked & area_holds);
        let holds = registers_hold & !asked | area_holds & asked;
        registers_area[STATE_BITS].copy_from_slice(&holds.to_le_bytes());
        // SAFETY: no extended feature that needs more than the 4096 bytes of `kvm_xsave` is ever enabled for a guest.
        match unsafe { vcpu.set_xsave(&from_bytes(&registers_area)) } {
            // A reserved bit of MXCSR.
            Err(error) if error.errno() == libc::EINVAL => {
                return Err(Failure::Exception(general_protection()));
            }
            result => result?,
        }
    }
    Ok(())
}

fn general_protection() -> Exception {
    Exception {
        vector: GENERAL_PROTECTION,
        code: Some(0),
        address: None,
    }
}

/// The instruction with its operand's address; only what a 64-bit kernel uses: no segment but the flat ones.
fn decode(bytes: &[u8], regs: &kvm_regs) -> Option<Instruction> {
    let (rex, rest) = match bytes {
        [rex @ 0x40..=0x4f, rest @ ..] => (*rex, rest),
        rest => (0, rest),
    };
    let [0x0f, 0xae, modrm, rest @ ..] = rest else {
        return None;
    };
    let saves = match modrm >> 3 & 7 {
        4 => true,
        5 => false,
        _ => return None,
    };
    let (mode, base) = (modrm >> 6, modrm & 7);
    let (base, index, rest) = match (mode, base) {
        (3, _) => return None,
        (_, 4) => {
            let [sib, rest @ ..] = rest else { return None };
            let number = sib >> 3 & 7 | (rex & 2) << 2;
            let index = match number {
                4 => 0,
                number => register(regs, number) << (sib >> 6),
            };
            (sib & 7, index, rest)
        }
        _ => (base, 0, rest),
    };
    let no_base = mode == 0 && base == 5;
    let (displacement, rest) = match mode {
        0 if !no_base => (0, rest),
        1 => {
            let [byte, rest @ ..] = rest else { return None };
            (i64::from(*byte as i8), rest)
        }
        _ => {
            let (word, rest) = rest.split_first_chunk()?;
            (i64::from(i32::from_le_bytes(*word)), rest)
        }
    };
    let length = (bytes.len() - rest.len()) as u64;
    let base = match (no_base, modrm & 7) {
        // Relative to the next instruction.
        (true, 5) => regs.rip.wrapping_add(length),
        (true, _) => 0,
        (false, _) => register(regs, base | (rex & 1) << 3),
    };
    Some(Instruction {
        saves,
        address: base.wrapping_add(index).wrapping_add_signed(displacement),
        length,
    })
}

fn register(regs: &kvm_regs, number: u8) -> u64 {
    match number {
        0 => regs.rax,
        1 => regs.rcx,
        2 => regs.rdx,
        3 => regs.rbx,
        4 => regs.rsp,
        5 => regs.rbp,
        6 => regs.rsi,
        7 => regs.rdi,
        8 => regs.r8,
        9 => regs.r9,
        10 => regs.r10,
        11 => regs.r11,
        12 => regs.r12,
        13 => regs.r13,
        14 => regs.r14,
        _ => regs.r15,
    }
}

/// Where the parts of `length` bytes at a linear address are in guest memory, one for each page.
fn pages(
    memory: &GuestMemoryMmap,
    sregs: &kvm_sregs,
    address: u64,
    length: usize,
    write: bool,
) -> Result<Vec<(GuestAddress, Range<usize>)>, Exception> {
    let mut pages = Vec::with_capacity(2);
    let mut done = 0;
    while done < length {
        let at = address.wrapping_add(done as u64);
        let here = (length - done).min((PAGE - at % PAGE) as usize);
        let physical = translate(memory, sregs, at, write).map_err(|code| Exception {
            vector: PAGE_FAULT,
            code: Some(code),
            address: Some(at),
        })?;
        pages.push((physical, done..done + here));
        done += here;
    }
    Ok(pages)
}

/// Walks the page tables for an access by the kernel; the error code of the page fault where it may not.
fn translate(
    memory: &GuestMemoryMmap,
    sregs: &kvm_sregs,
    address: u64,
    write: bool,
) -> Result<GuestAddress, u32> {
    let top = if sregs.cr4 & CR4_LA57 != 0 { 4 } else { 3 };
    let code = if write { PAGE_FAULT_WRITE } else { 0 };
    let mut entry = sregs.cr3;
    for level in (0..=top).rev() {
        let shift = 12 + 9 * level;
        let slot = GuestAddress((entry & ENTRY_ADDRESS) + 8 * (address >> shift & 0x1ff));
        entry = memory.read_obj(slot).map_err(|_| code)?;
        if entry & ENTRY_PRESENT == 0 {
            return Err(code);
        }
        if write && entry & ENTRY_WRITABLE == 0 {
            return Err(code | ENTRY_PRESENT as u32);
        }
        if (1..=2).contains(&level) && entry & ENTRY_LARGE != 0 {
            let offset = (1 << shift) - 1;
            return Ok(GuestAddress(
                entry & ENTRY_ADDRESS & !offset | address & offset,
            ));
        }
    }
    Ok(GuestAddress(entry & ENTRY_ADDRESS | (address % PAGE)))
}

/// The parts of an area that the components `asked` take.
fn components(asked: u64) -> impl Iterator<Item = (u64, Range<usize>)> {
    let legacy = [
        (X87, 0..24),
        (SSE | AVX, 24..32),
        (X87, 32..160),
        (SSE, 160..416),
    ];
    let extended = (2..63)
        .filter(move |number| asked >> number & 1 == 1)
        .map(|number| {
            let leaf = __cpuid_count(LEAF_XSAVE, number);
            (
                1 << number,
                leaf.ebx as usize..(leaf.ebx + leaf.eax) as usize,
            )
        });
    legacy
        .into_iter()
        .chain(extended)
        .filter(move |(bits, range)| asked & bits != 0 && range.end <= AREA)
}

fn copy(from: &[u8], to: &mut [u8], asked: u64) {
    for (_, range) in components(asked) {
        to[range.clone()].copy_from_slice(&from[range]);
    }
}

fn state_bits(area: &[u8]) -> u64 {
    let mut bits = [0; 8];
    bits.copy_from_slice(&area[STATE_BITS]);
    u64::from_le_bytes(bits)
}

fn bytes_of(xsave: &kvm_xsave) -> [u8; AREA] {
    let mut bytes = [0; AREA];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(&xsave.region) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn from_bytes(bytes: &[u8; AREA]) -> kvm_xsave {
    let mut xsave = kvm_xsave::default();
    for (bytes, word) in bytes.chunks_exact(4).zip(&mut xsave.region) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    xsave
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_decoded_as_the_assembler_encodes_them() {
        let regs = kvm_regs {
            rdi: 0x1000,
            rsi: 0x20,
            r12: 0x3000,
            rip: 0x5000,
            ..Default::default()
        };
        let decode = |bytes: &[u8]| decode(bytes, &regs);
        let expect = |saves, address, length| {
            Some(Instruction {
                saves,
                address,
                length,
            })
        };
        // xsave64 (%rdi)
        assert_eq!(
            decode(&[0x48, 0x0f, 0xae, 0x27, 0xcc]),
            expect(true, 0x1000, 4)
        );
        // xrstor64 -8(%rdi)
        assert_eq!(
            decode(&[0x48, 0x0f, 0xae, 0x6f, 0xf8]),
            expect(false, 0xff8, 5)
        );
        // xsave64 0x40(%r12): r12 takes a SIB byte
        assert_eq!(
            decode(&[0x49, 0x0f, 0xae, 0x64, 0x24, 0x40]),
            expect(true, 0x3040, 6)
        );
        // xsave64 0x100(%rdi,%rsi,4)
        assert_eq!(
            decode(&[0x48, 0x0f, 0xae, 0xa4, 0xb7, 0, 1, 0, 0]),
            expect(true, 0x1180, 9)
        );
        // xrstor64 0x10(%rip)
        assert_eq!(
            decode(&[0x48, 0x0f, 0xae, 0x2d, 0x10, 0, 0, 0]),
            expect(false, 0x5018, 8)
        );
        // lfence, fxsave64 (%rdi), and a cut-off xsave64
        assert_eq!(decode(&[0x0f, 0xae, 0xe8]), None);
        assert_eq!(decode(&[0x48, 0x0f, 0xae, 0x07]), None);
        assert_eq!(decode(&[0x48, 0x0f, 0xae, 0xa4, 0xb7, 0]), None);
    }
}
