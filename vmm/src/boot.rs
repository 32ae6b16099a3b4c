//! Loading a kernel as the 64-bit Linux boot protocol asks (Documentation/arch/x86/boot.rst): ELF segments, initramfs, command
//! line, zero page.

use std::io::{self, Seek, SeekFrom};

use linux_loader::cmdline::Cmdline;
use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use linux_loader::loader::elf::Elf;
use linux_loader::loader::{self, KernelLoader};
use rustix::rand::GetRandomFlags;
use vm_memory::{
    Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap,
    GuestMemoryRegion,
};

use crate::image::Image;
use crate::layout;

const BOOT_FLAG: u16 = 0xaa55;
const HEADER_MAGIC: u32 = 0x5372_6448;
const LOADER_UNDEFINED: u8 = 0xff;
const E820_RAM: u32 = 1;
const PAGE: u64 = 4096;
/// `SETUP_RNG_SEED`
const SETUP_RNG_SEED: u32 = 9;
const SEED_LEN: usize = 32;

/// Why a kernel could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is no kernel, or a compressed one.
    #[error("the kernel is not an uncompressed 64-bit x86 ELF file (vmlinux)")]
    Kernel(#[source] loader::Error),
    /// The initramfs does not fit beside the kernel.
    #[error("the initramfs of {size} bytes does not fit into guest memory; give the guest more")]
    InitramfsSpace {
        /// Its size.
        size: u64,
    },
    /// The initramfs could not be read.
    #[error("can't read the initramfs")]
    Initramfs(#[source] io::Error),
    /// Guest memory could not be written where boot data belongs.
    #[error("can't write boot data into guest memory")]
    Memory(#[from] GuestMemoryError),
    /// The command line is too long or not ASCII.
    #[error("the kernel command line is not valid")]
    Cmdline(#[source] linux_loader::cmdline::Error),
    /// The command line could not be written.
    #[error("can't write the kernel command line into guest memory")]
    LoadCmdline(#[source] loader::Error),
    /// The zero page could not be written.
    #[error("can't write the zero page into guest memory")]
    ZeroPage(#[source] linux_loader::configurator::Error),
    /// The host has no random bytes.
    #[error("can't get random bytes for the guest")]
    Seed(#[source] rustix::io::Errno),
    /// The zero page has no room for all memory regions.
    #[error("more memory regions than the zero page holds")]
    MemoryMap,
}

/// Loads kernel, initramfs and command line, and returns the address at which the boot processor starts.
pub fn load(
    memory: &GuestMemoryMmap,
    kernel: &mut Image,
    initramfs: Option<&mut Image>,
    cmdline: &Cmdline,
) -> Result<GuestAddress, Error> {
    let kernel =
        Elf::load(memory, None, kernel, Some(layout::HIGH_MEMORY)).map_err(Error::Kernel)?;
    let initramfs = match initramfs {
        Some(file) => Some(load_initramfs(memory, file, kernel.kernel_end)?),
        None => None,
    };
    loader::load_cmdline(memory, layout::CMDLINE, cmdline).map_err(Error::LoadCmdline)?;
    let length = cmdline
        .as_cstring()
        .map_err(Error::Cmdline)?
        .as_bytes()
        .len();
    write_seed(memory)?;
    write_zero_page(memory, length, initramfs)?;
    Ok(kernel.kernel_load)
}

/// Writes a seed for the guest's random number generator. With it the generator is ready before anything asks for random
/// bytes; without it each early request hashes the whole pool again.
fn write_seed(memory: &GuestMemoryMmap) -> Result<(), Error> {
    let mut data = Vec::with_capacity(16 + SEED_LEN);
    data.extend_from_slice(&0u64.to_le_bytes());
    data.extend_from_slice(&SETUP_RNG_SEED.to_le_bytes());
    data.extend_from_slice(&(SEED_LEN as u32).to_le_bytes());
    let mut seed = [0; SEED_LEN];
    let mut filled = 0;
    while filled < SEED_LEN {
        match rustix::rand::getrandom(&mut seed[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::Seed(error)),
        }
    }
    data.extend_from_slice(&seed);
    Ok(memory.write_slice(&data, layout::SETUP_DATA)?)
}

/// Loads the initramfs as high below the gap as it fits, and returns its address and size.
fn load_initramfs(
    memory: &GuestMemoryMmap,
    file: &mut Image,
    kernel_end: u64,
) -> Result<(GuestAddress, u64), Error> {
    let size = file.seek(SeekFrom::End(0)).map_err(Error::Initramfs)?;
    file.rewind().map_err(Error::Initramfs)?;
    let end = memory.iter().next().map_or(0, |region| region.len());
    let start = end
        .checked_sub(size)
        .map(|start| start & !(PAGE - 1))
        .filter(|start| *start >= kernel_end)
        .ok_or(Error::InitramfsSpace { size })?;
    memory.read_exact_volatile_from(GuestAddress(start), file, size as usize)?;
    Ok((GuestAddress(start), size))
}

fn write_zero_page(
    memory: &GuestMemoryMmap,
    cmdline_length: usize,
    initramfs: Option<(GuestAddress, u64)>,
) -> Result<(), Error> {
    let mut params = boot_params::default();
    params.hdr.boot_flag = BOOT_FLAG;
    params.hdr.header = HEADER_MAGIC;
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.kernel_alignment = 0x0100_0000;
    params.hdr.cmd_line_ptr = layout::CMDLINE.0 as u32;
    params.hdr.cmdline_size = cmdline_length as u32;
    params.hdr.setup_data = layout::SETUP_DATA.0;
    if let Some((address, size)) = initramfs {
        params.hdr.ramdisk_image = address.0 as u32;
        params.hdr.ramdisk_size = size as u32;
    }
    let mut usable = vec![(0, layout::BASE_MEMORY_END)];
    for region in memory.iter() {
        let start = region.start_addr().max(layout::HIGH_MEMORY);
        usable.push((start.0, region.last_addr().unchecked_offset_from(start) + 1));
    }
    for (addr, size) in usable {
        let index = usize::from(params.e820_entries);
        let entry = params.e820_table.get_mut(index).ok_or(Error::MemoryMap)?;
        *entry = boot_e820_entry {
            addr,
            size,
            r#type: E820_RAM,
        };
        params.e820_entries += 1;
    }
    LinuxBootConfigurator::write_bootparams(&BootParams::new(&params, layout::ZERO_PAGE), memory)
        .map_err(Error::ZeroPage)
}
