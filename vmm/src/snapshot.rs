//! Snapshots: a state file, versioned and checksummed, and a sparse file that holds guest memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress};

use crate::state::MachineState;

/// What a state file begins with.
const MAGIC: [u8; 8] = *b"RVMSNAP\n";
/// The format of what follows. A state of another version is refused.
const VERSION: u32 = 1;
/// The longest state that is read, in bytes.
const MAX_STATE: u64 = 16 << 20;
const HEADER_LEN: usize = MAGIC.len() + 4 + 4;
const PAGE: usize = 4096;

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state file failed.
    #[error("can't {0} the snapshot's state")]
    State(&'static str, #[source] io::Error),
    /// Guest memory could not be written to its file.
    #[error("can't write the snapshot's memory")]
    Memory(#[source] io::Error),
    /// Something else than a snapshot.
    #[error("this is no snapshot of a virtual machine")]
    Magic,
    /// A snapshot of another version.
    #[error("the snapshot has format {0}, this program reads format {VERSION}; make it anew")]
    Version(u32),
    /// A damaged snapshot.
    #[error("the snapshot is damaged: its checksum is wrong")]
    Checksum,
    /// The state is not one.
    #[error("the snapshot's state is not understood")]
    Format(#[from] serde_json::Error),
    /// A guest memory region has no host address.
    #[error("can't find guest memory's mapping")]
    Region(#[source] vm_memory::GuestMemoryError),
}

/// Writes `state` to `file`: magic, version and CRC-32 (both little-endian), then JSON.
pub fn write_state(file: &mut File, state: &MachineState) -> Result<(), Error> {
    write(file, state)
}

/// Reads what [`write_state`] wrote. Anything else is refused.
pub fn read_state(file: &mut File) -> Result<MachineState, Error> {
    read(file)
}

fn write(file: &mut impl Write, state: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_vec(state)?;
    let mut bytes = Vec::with_capacity(HEADER_LEN + json.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&json).to_le_bytes());
    bytes.extend_from_slice(&json);
    file.write_all(&bytes).map_err(|e| Error::State("write", e))
}

fn read<T: for<'de> Deserialize<'de>>(file: &mut impl Read) -> Result<T, Error> {
    let mut bytes = Vec::new();
    file.take(MAX_STATE)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::State("read", e))?;
    let rest = bytes.strip_prefix(&MAGIC).ok_or(Error::Magic)?;
    let (version, rest) = rest.split_first_chunk().ok_or(Error::Checksum)?;
    let (checksum, json) = rest.split_first_chunk().ok_or(Error::Checksum)?;
    match u32::from_le_bytes(*version) {
        VERSION => {}
        other => return Err(Error::Version(other)),
    }
    if u32::from_le_bytes(*checksum) != crc32fast::hash(json) {
        return Err(Error::Checksum);
    }
    Ok(serde_json::from_slice(json)?)
}

/// Writes guest memory to `file`, region after region, leaving holes where there are only zeroes.
///
/// No vCPU and no device may run meanwhile.
pub fn write_memory(file: &File, memory: &GuestMemoryMmap) -> Result<(), Error> {
    let size = memory.iter().map(|region| region.len()).sum();
    file.set_len(size).map_err(Error::Memory)?;
    let mut offset = 0;
    for region in memory.iter() {
        let address = region
            .get_host_address(MemoryRegionAddress(0))
            .map_err(Error::Region)?;
        // SAFETY: the region is mapped with this length for as long as `memory` lives, and the guest, the only other one that writes
        // to it, stands still.
        let bytes = unsafe { std::slice::from_raw_parts(address, region.len() as usize) };
        write_used_pages(file, offset, bytes).map_err(Error::Memory)?;
        offset += region.len();
    }
    Ok(())
}

/// Writes the pages of `bytes` that are in memory at all and are not zero, in runs.
fn write_used_pages(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let resident = resident_pages(bytes)?;
    let mut run = 0..0;
    for (index, page) in bytes.chunks(PAGE).enumerate() {
        let used = resident.get(index).is_some_and(|flags| flags & 1 != 0) && !is_zero(page);
        if used && run.end == index {
            run.end += 1;
        } else if used {
            write_run(file, offset, bytes, &run)?;
            run = index..index + 1;
        }
    }
    write_run(file, offset, bytes, &run)
}

fn write_run(
    file: &File,
    offset: u64,
    bytes: &[u8],
    pages: &std::ops::Range<usize>,
) -> io::Result<()> {
    let start = pages.start * PAGE;
    let end = (pages.end * PAGE).min(bytes.len());
    file.write_all_at(&bytes[start..end], offset + start as u64)
}

/// For each page whether it is in memory: bit 0 of each byte, see mincore(2). Pages that never were in use are not, and are not
/// brought there by asking.
fn resident_pages(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut pages = vec![0; bytes.len().div_ceil(PAGE)];
    // SAFETY: `bytes` is mapped memory that begins at a page, and `pages` has a byte for each page of it.
    let result = unsafe {
        libc::mincore(
            bytes.as_ptr().cast_mut().cast(),
            bytes.len(),
            pages.as_mut_ptr(),
        )
    };
    if result == 0 {
        Ok(pages)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn is_zero(page: &[u8]) -> bool {
    // SAFETY: every bit pattern is a valid u64.
    let (before, words, after) = unsafe { page.align_to::<u64>() };
    before.iter().chain(after).all(|byte| *byte == 0) && words.iter().all(|word| *word == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_anything_else_is_refused() {
        let mut good = Vec::new();
        write(&mut good, &vec![1u8, 2, 3]).expect("write");
        assert_eq!(
            read::<Vec<u8>>(&mut good.as_slice()).expect("read"),
            [1, 2, 3]
        );
        for length in 0..good.len() {
            assert!(
                read::<Vec<u8>>(&mut &good[..length]).is_err(),
                "cut to {length} bytes"
            );
        }
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x10;
            assert!(
                read::<Vec<u8>>(&mut bad.as_slice()).is_err(),
                "byte {index} changed"
            );
        }
        assert!(matches!(
            read::<Vec<u8>>(&mut &b"\x7fELF"[..]),
            Err(Error::Magic)
        ));
    }
}
