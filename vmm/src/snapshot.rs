//! Snapshots: a state file, versioned and checksummed, and a sparse file that holds guest memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use vm_memory::{
    GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress,
};

use crate::state::MachineState;

/// What a state file begins with.
const MAGIC: [u8; 8] = *b"RVMSNAP\n";
/// The format of what follows. A state of another version is refused.
const VERSION: u32 = 3;
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
/// No vCPU and no device may run meanwhile. What is not zero is in the file that a region is mapped from, in the files that are mapped
/// over it at the host addresses `images`, or in pages that this process has to itself because the guest has written to them. `pagemap`,
/// this process's /proc/PID/pagemap, tells of the last, swapped out or not.
pub fn write_memory(
    file: &File,
    memory: &GuestMemoryMmap,
    images: &[Range<usize>],
    pagemap: &File,
) -> Result<(), Error> {
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
        let mut parts = shared_data(region).map_err(Error::Memory)?;
        parts.extend(own_pages(pagemap, address as usize, bytes.len()).map_err(Error::Memory)?);
        parts.extend(images.iter().filter_map(|range| {
            let start = range.start.max(address as usize) - address as usize;
            let end = range.end.checked_sub(address as usize)?.min(bytes.len());
            (start < end).then_some(start..end)
        }));
        parts.sort_unstable_by_key(|part| part.start);
        let mut done = 0;
        for part in parts {
            let rest = part.start.max(done)..part.end;
            done = done.max(part.end);
            write_used_pages(file, offset, bytes, rest).map_err(Error::Memory)?;
        }
        offset += region.len();
    }
    Ok(())
}

/// The parts of `region` for which the file that it is mapped from has data, swapped out or not.
fn shared_data(region: &GuestRegionMmap) -> io::Result<Vec<Range<usize>>> {
    let backing = region.file_offset().ok_or(io::ErrorKind::Unsupported)?;
    let end = backing.start() + region.len();
    let mut parts = Vec::new();
    let mut position = backing.start();
    while position < end {
        let start = match rustix::fs::seek(backing.file(), SeekFrom::Data(position)) {
            Ok(start) if start < end => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        position = rustix::fs::seek(backing.file(), SeekFrom::Hole(start))?.min(end);
        parts.push((start - backing.start()) as usize..(position - backing.start()) as usize);
    }
    Ok(parts)
}

/// The parts of the memory at `address` that nobody else has, as offsets.
fn own_pages(pagemap: &File, address: usize, length: usize) -> io::Result<Vec<Range<usize>>> {
    // From the kernel's Documentation/admin-guide/mm/pagemap.rst.
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const FILE_OR_SHARED: u64 = 1 << 61;
    let mut entries = vec![0; length.div_ceil(PAGE) * size_of::<u64>()];
    pagemap.read_exact_at(&mut entries, (address / PAGE * size_of::<u64>()) as u64)?;
    let (entries, _) = entries.as_chunks();
    let mut parts: Vec<Range<usize>> = Vec::new();
    for (start, entry) in (0..length).step_by(PAGE).zip(entries) {
        let entry = u64::from_ne_bytes(*entry);
        if entry & (PRESENT | SWAPPED) == 0 || entry & FILE_OR_SHARED != 0 {
            continue;
        }
        match parts.last_mut() {
            Some(last) if last.end == start => last.end += PAGE,
            _ => parts.push(start..start + PAGE),
        }
    }
    Ok(parts)
}

/// Writes the pages of `bytes` in `part` that are not zero, in runs.
fn write_used_pages(file: &File, offset: u64, bytes: &[u8], part: Range<usize>) -> io::Result<()> {
    let mut run = part.start..part.start;
    for start in part.clone().step_by(PAGE) {
        let page = start..(start + PAGE).min(part.end);
        if is_zero(&bytes[page.clone()]) {
            continue;
        }
        if run.end != page.start {
            file.write_all_at(&bytes[run.clone()], offset + run.start as u64)?;
            run.start = page.start;
        }
        run.end = page.end;
    }
    file.write_all_at(&bytes[run.clone()], offset + run.start as u64)
}

fn is_zero(page: &[u8]) -> bool {
    // SAFETY: every bit pattern is a valid u64.
    let (before, words, after) = unsafe { page.align_to::<u64>() };
    before.iter().chain(after).all(|byte| *byte == 0) && words.iter().all(|word| *word == 0)
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use vm_memory::mmap::MmapRegionBuilder;
    use vm_memory::{Bytes, FileOffset, GuestAddress};

    use super::*;
    use crate::image::Image;
    use crate::memory::Mapping;

    #[test]
    fn memory_that_is_mapped_from_a_file_is_written_whether_it_was_read_or_not() {
        let mut file = tempfile::tempfile_in("/var/tmp").expect("image");
        file.write_all(&[7; 16 * PAGE]).expect("fill the image");
        file.sync_all().expect("sync");
        let mut image = Image::new(file.try_clone().expect("clone"));
        let size = 1 << 20;
        let backing = tempfile::tempfile().expect("memory");
        backing.set_len(size).expect("size");
        let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges_with_files([(
            GuestAddress(0),
            size as usize,
            Some(FileOffset::new(backing, 0)),
        )])
        .expect("map");
        image.rewind().expect("rewind");
        memory
            .read_exact_volatile_from(GuestAddress(8 << 12), &mut image, 16 * PAGE)
            .expect("load");
        memory
            .write_slice(b"shared", GuestAddress(0))
            .expect("write");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("forget the file");
        let written = tempfile::tempfile().expect("snapshot");
        let pagemap = File::open("/proc/self/pagemap").expect("pagemap");
        write_memory(&written, &memory, image.mapped(), &pagemap).expect("write");
        let mut expected = vec![0; size as usize];
        expected[..6].copy_from_slice(b"shared");
        expected[8 * PAGE..24 * PAGE].fill(7);
        let mut bytes = vec![0; size as usize];
        written.read_exact_at(&mut bytes, 0).expect("read");
        assert!(bytes == expected);
    }

    /// What the guest would see at each page is what a snapshot has there, whether the page was given back or not.
    #[test]
    fn memory_that_was_given_back_is_written_as_the_guest_sees_it() {
        let mut file = tempfile::tempfile_in("/var/tmp").expect("image");
        file.write_all(&[7; 16 * PAGE]).expect("fill the image");
        let size = 1 << 20;
        let backing = tempfile::tempfile_in("/dev/shm").expect("memory");
        backing
            .write_all_at(&vec![3; size / 2], 0)
            .expect("fill the memory");
        backing.set_len(size as u64).expect("size");
        for mapping in [Mapping::Shared, Mapping::CopyOnWrite] {
            let memory = map_region(&backing, size, mapping);
            let mut image = Image::new(file.try_clone().expect("clone"));
            image.rewind().expect("rewind");
            memory
                .read_exact_volatile_from(GuestAddress(8 << 12), &mut image, 16 * PAGE)
                .expect("load");
            let pages = |start: usize, end: usize| {
                let region = memory.iter().next().expect("region").as_ptr() as usize;
                region + start * PAGE..region + end * PAGE
            };
            // The guest writes before and into the image, and behind everything; then it does without some of that.
            for page in [0, 1, 9, 10, 200, 201] {
                let address = GuestAddress(page << 12);
                memory.write_slice(&[9; PAGE], address).expect("write");
            }
            for range in [pages(1, 4), pages(10, 12), pages(23, 26), pages(201, 202)] {
                rvm_devices::virtio::balloon::release(&memory, range).expect("release");
            }
            let mut seen = vec![0; size];
            memory.read_slice(&mut seen, GuestAddress(0)).expect("read");
            let older = match mapping {
                Mapping::Shared => 0,
                Mapping::CopyOnWrite => 3,
            };
            for (page, expected) in [
                (0, 9),
                (1, older),
                (3, older),
                (4, 3),
                (9, 9),
                (10, 7),
                (23, 7),
                (25, older),
                (200, 9),
                (201, 0),
            ] {
                assert_eq!(seen[page * PAGE], expected, "page {page}, {mapping:?}");
            }
            let written = tempfile::tempfile().expect("snapshot");
            let pagemap = File::open("/proc/self/pagemap").expect("pagemap");
            write_memory(&written, &memory, image.mapped(), &pagemap).expect("write");
            let mut bytes = vec![0; size];
            written.read_exact_at(&mut bytes, 0).expect("read");
            assert!(bytes == seen, "{mapping:?}");
            // The next round's memory is what was there at first, but for what the shared mapping has written.
            backing
                .write_all_at(&vec![3; size / 2], 0)
                .expect("fill the memory");
            backing
                .write_all_at(&vec![0; size / 2], size as u64 / 2)
                .expect("clear the memory");
        }
    }

    fn map_region(file: &File, size: usize, mapping: Mapping) -> GuestMemoryMmap {
        let flags = match mapping {
            Mapping::Shared => libc::MAP_SHARED,
            Mapping::CopyOnWrite => libc::MAP_PRIVATE,
        };
        let file = file.try_clone().expect("clone");
        let region = MmapRegionBuilder::new(size)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(flags | libc::MAP_NORESERVE)
            .with_file_offset(FileOffset::new(file, 0))
            .build()
            .expect("map");
        let region = GuestRegionMmap::new(region, GuestAddress(0)).expect("region");
        GuestMemoryMmap::from_regions(vec![region]).expect("memory")
    }

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
