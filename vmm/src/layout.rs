//! Where things are in the guest's physical address space and on its interrupt controller.

use vm_memory::GuestAddress;

/// The global descriptor table that the boot processor starts with.
pub const GDT: GuestAddress = GuestAddress(0x500);
/// The zero page, `struct boot_params` of the Linux boot protocol.
pub const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);
/// The list of `struct setup_data` that the zero page points to.
pub const SETUP_DATA: GuestAddress = GuestAddress(0x8000);
/// The page tables that the boot processor starts with: a PML4, a page directory pointer table and one page directory.
pub const PML4: GuestAddress = GuestAddress(0x9000);
/// Second level of the page tables.
pub const PDPT: GuestAddress = GuestAddress(0xa000);
/// Third level of the page tables: the first GiB in 2 MiB pages.
pub const PAGE_DIRECTORY: GuestAddress = GuestAddress(0xb000);
/// The kernel's command line.
pub const CMDLINE: GuestAddress = GuestAddress(0x2_0000);
/// The longest command line that Linux on x86 takes, with its terminating zero (`COMMAND_LINE_SIZE`).
pub const CMDLINE_MAX: usize = 2048;
/// The MP table, in the last KiB of base memory, where the MultiProcessor Specification has the kernel look.
pub const MP_TABLE: GuestAddress = GuestAddress(0x9_fc00);
/// The first address that is not base memory.
pub const BASE_MEMORY_END: u64 = 0x9_fc00;
/// Where memory goes on above the legacy area, and where kernels begin at the earliest.
pub const HIGH_MEMORY: GuestAddress = GuestAddress(0x10_0000);

/// Memory up to here lies below the gap; the rest goes on at 4 GiB.
pub const GAP_START: u64 = 0xc000_0000;
/// The end of the gap.
pub const GAP_END: u64 = 1 << 32;

/// The first virtio-mmio device's registers.
pub const VIRTIO_MMIO_START: u64 = 0xd000_0000;
/// The bytes one virtio-mmio device takes.
pub const VIRTIO_MMIO_SIZE: u64 = 0x1000;
/// The I/O APIC's registers.
pub const IOAPIC: u32 = 0xfec0_0000;
/// The local APICs' registers.
pub const LOCAL_APIC: u32 = 0xfee0_0000;
/// Three pages for KVM's own use on Intel hosts.
pub const KVM_TSS: usize = 0xfffb_d000;
/// A page for KVM's own use on Intel hosts.
pub const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;

/// The serial console's first I/O port (COM1).
pub const SERIAL_PORT: u16 = 0x3f8;
/// The timer chip's interrupt.
pub const TIMER_IRQ: u32 = 0;
/// The serial console's interrupt.
pub const SERIAL_IRQ: u32 = 4;
/// The first interrupt of virtio-mmio devices, each of which has one of its own.
pub const VIRTIO_IRQ_START: u32 = 5;
/// The I/O APIC's inputs.
pub const IOAPIC_PINS: u32 = 24;
/// The most virtio-mmio devices that a guest can have.
pub const MAX_VIRTIO_DEVICES: usize = (IOAPIC_PINS - VIRTIO_IRQ_START) as usize;

/// The i8042 controller's I/O ports.
pub const I8042_PORTS: std::ops::RangeInclusive<u16> = 0x60..=0x64;
/// The power register's I/O port.
pub const POWER_PORT: u16 = 0x600;
