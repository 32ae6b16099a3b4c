//! Giving the host back the pages of guest memory that the guest does without.

use std::io;
use std::ops::Range;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::mm::{Advice, madvise};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

const PAGE: usize = 4096;

/// Gives back the whole pages in a range of host addresses that lies in one region of `memory`; how many bytes that were.
///
/// What the guest reads there afterwards is one of its older contents: zeroes where its memory is a shared mapping, and what is in the
/// file where it is, or is covered by, a private mapping of one. Memory is never given back through the file of a private
/// mapping: that file is a template, which others have mapped as well.
pub fn release(memory: &GuestMemoryMmap, range: Range<usize>) -> io::Result<u64> {
    let start = range.start.next_multiple_of(PAGE);
    let end = range.end / PAGE * PAGE;
    let Some(length) = end.checked_sub(start).filter(|length| *length > 0) else {
        return Ok(0);
    };
    let region = memory.iter().find_map(|region| {
        let offset = start.checked_sub(region.as_ptr() as usize)? as u64;
        let fits = offset.checked_add(length as u64)? <= region.len();
        fits.then_some((region, offset))
    });
    let (region, offset) = region.ok_or(io::ErrorKind::InvalidInput)?;
    if region.flags() & libc::MAP_SHARED != 0 {
        let backing = region.file_offset().ok_or(io::ErrorKind::Unsupported)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let offset = backing.start() + offset;
        fallocate(backing.file(), flags, offset, length as u64)?;
    }
    // In a shared mapping nothing is left to be done, but an image may be mapped over it privately; then the copies of its pages go.
    // SAFETY: the range lies in guest memory, which stays mapped, and to which nobody holds references.
    unsafe { madvise(start as *mut _, length, Advice::LinuxDontNeed) }?;
    Ok(length as u64)
}
