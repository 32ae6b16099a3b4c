//! The MP table, by which a kernel without ACPI finds its processors and interrupts (MultiProcessor Specification 1.4, chapter 4).

use vm_memory::{Bytes, GuestMemoryError, GuestMemoryMmap};

use crate::layout::{IOAPIC, LOCAL_APIC, MP_TABLE, SERIAL_IRQ, TIMER_IRQ};

const SPEC_REVISION: u8 = 4;
const APIC_VERSION: u8 = 0x14;
const CPU_ENABLED: u8 = 1;
const CPU_BOOT: u8 = 2;
const FEATURE_APIC_AND_FPU: u32 = 1 << 9 | 1;
const ISA_BUS: u8 = 0;
const INTERRUPT_INT: u8 = 0;
const INTERRUPT_NMI: u8 = 1;
const INTERRUPT_EXTINT: u8 = 3;
const ALL_LOCAL_APICS: u8 = 0xff;

/// Writes the table for `vcpus` processors, whose local APIC ids are their numbers, and virtio devices with the interrupts `virtio`.
///
/// Inputs of the I/O APIC that nothing is connected to are left out: a kernel makes an interrupt of each that is listed.
pub fn write(
    memory: &GuestMemoryMmap,
    vcpus: u8,
    virtio: impl Iterator<Item = u32>,
) -> Result<(), GuestMemoryError> {
    memory.write_slice(&table(vcpus, virtio), MP_TABLE)
}

/// The floating pointer structure, directly followed by the configuration table.
fn table(vcpus: u8, virtio: impl Iterator<Item = u32>) -> Vec<u8> {
    let ioapic_id = vcpus;
    let mut entries = Vec::new();
    let mut count = 0u16;
    let mut entry = |bytes: &[u8]| {
        entries.extend_from_slice(bytes);
        count += 1;
    };
    for cpu in 0..vcpus {
        let flags = CPU_ENABLED | if cpu == 0 { CPU_BOOT } else { 0 };
        let mut processor = [0; 20];
        processor[..4].copy_from_slice(&[0, cpu, APIC_VERSION, flags]);
        processor[8..12].copy_from_slice(&FEATURE_APIC_AND_FPU.to_le_bytes());
        entry(&processor);
    }
    entry(b"\x01\x00ISA   ");
    let [a, b, c, d] = IOAPIC.to_le_bytes();
    entry(&[2, ioapic_id, APIC_VERSION, 1, a, b, c, d]);
    for irq in [TIMER_IRQ, SERIAL_IRQ].into_iter().chain(virtio) {
        let irq = irq as u8;
        entry(&[3, INTERRUPT_INT, 0, 0, ISA_BUS, irq, ioapic_id, irq]);
    }
    entry(&[4, INTERRUPT_EXTINT, 0, 0, ISA_BUS, 0, 0, 0]);
    entry(&[4, INTERRUPT_NMI, 0, 0, ISA_BUS, 0, ALL_LOCAL_APICS, 1]);

    let mut header = Vec::with_capacity(44);
    header.extend_from_slice(b"PCMP");
    header.extend_from_slice(&(44 + entries.len() as u16).to_le_bytes());
    header.extend_from_slice(&[SPEC_REVISION, 0]);
    header.extend_from_slice(b"RVM     MICROVM     ");
    header.extend_from_slice(&[0; 6]);
    header.extend_from_slice(&count.to_le_bytes());
    header.extend_from_slice(&LOCAL_APIC.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header[7] = checksum(header.iter().chain(&entries));

    let mut pointer = Vec::with_capacity(16);
    pointer.extend_from_slice(b"_MP_");
    pointer.extend_from_slice(&(MP_TABLE.0 as u32 + 16).to_le_bytes());
    pointer.extend_from_slice(&[1, SPEC_REVISION, 0, 0, 0, 0, 0, 0]);
    pointer[10] = checksum(pointer.iter());

    [pointer, header, entries].concat()
}

/// The byte that makes the sum of all zero.
fn checksum<'a>(bytes: impl Iterator<Item = &'a u8>) -> u8 {
    bytes
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte))
        .wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MAX_VCPUS;
    use crate::layout::{IOAPIC_PINS, VIRTIO_IRQ_START};

    #[test]
    fn the_table_of_the_largest_guest_fits_below_the_end_of_base_memory() {
        let table = table(MAX_VCPUS, VIRTIO_IRQ_START..IOAPIC_PINS);
        assert!(table.len() as u64 <= 0xa_0000 - MP_TABLE.0);
    }

    #[test]
    fn both_parts_sum_to_zero() {
        let table = table(3, 5..7);
        let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |s, b| s.wrapping_add(*b));
        assert_eq!(sum(&table[..16]), 0);
        assert_eq!(sum(&table[16..]), 0);
        assert_eq!(
            usize::from(u16::from_le_bytes([table[20], table[21]])),
            table.len() - 16
        );
    }
}
