//! The file or block device behind a disk.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;

use rustix::fs::{FallocateFlags, fallocate};

use super::SECTOR_SIZE;
use crate::virtio::chain::Segments;

/// Why a file can't be a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The size can't be found out.
    #[error("finding the size of a disk")]
    Size(#[source] io::Error),
    /// A disk that can't be written was to be writable.
    #[error("a disk is meant to be writable, but was opened for reading only")]
    ReadOnlyFile,
    /// The descriptor's mode can't be found out.
    #[error("finding out how a disk was opened")]
    Mode(#[source] io::Error),
}

/// An open disk.
pub(super) struct Disk {
    file: File,
    sectors: u64,
    read_only: bool,
}

impl Disk {
    /// `size` is what the guest sees in bytes instead of the file's size.
    pub(super) fn new(
        mut file: File,
        read_only: bool,
        size: Option<u64>,
    ) -> Result<Self, DiskError> {
        let flags =
            rustix::fs::fcntl_getfl(&file).map_err(|error| DiskError::Mode(error.into()))?;
        if !read_only && flags & rustix::fs::OFlags::RWMODE == rustix::fs::OFlags::RDONLY {
            return Err(DiskError::ReadOnlyFile);
        }
        let length = match size {
            Some(size) => size,
            // A block device's length is not in its metadata. All I/O names its position, so moving the file's is harmless.
            None => file.seek(SeekFrom::End(0)).map_err(DiskError::Size)?,
        };
        Ok(Self {
            file,
            sectors: length / SECTOR_SIZE,
            read_only,
        })
    }

    pub(super) fn sectors(&self) -> u64 {
        self.sectors
    }

    pub(super) fn read_only(&self) -> bool {
        self.read_only
    }

    /// The position in bytes of `length` bytes from `sector` on, when they are whole sectors on the disk.
    pub(super) fn position(&self, sector: u64, length: u64) -> Option<u64> {
        let end = sector.checked_add(length / SECTOR_SIZE)?;
        (length.is_multiple_of(SECTOR_SIZE) && end <= self.sectors).then(|| sector * SECTOR_SIZE)
    }

    /// Fills `buffer` from `position` on.
    pub(super) fn read(&self, buffer: &Segments, position: u64) -> io::Result<()> {
        transfer(buffer, position, |iovecs, count, position| {
            // SAFETY: the iovecs are slices of the guest's memory, which stays mapped while `buffer` borrows it,
            // and which nothing in this process assumes to be unchanged.
            unsafe { libc::preadv(self.file.as_raw_fd(), iovecs, count, position) }
        })
    }

    /// Writes `buffer` at `position`.
    pub(super) fn write(&self, buffer: &Segments, position: u64) -> io::Result<()> {
        transfer(buffer, position, |iovecs, count, position| {
            // SAFETY: as in `read`; the kernel only reads from the slices.
            unsafe { libc::pwritev(self.file.as_raw_fd(), iovecs, count, position) }
        })
    }

    /// Puts everything written so far on stable storage.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives back the storage of a range, which reads as zeroes from then on.
    pub(super) fn discard(&self, position: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, flags, position, length)?)
    }

    /// Writes zeroes to a range, and keeps its storage when the file system can do that.
    pub(super) fn write_zeroes(&self, position: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, position, length) {
            Err(rustix::io::Errno::OPNOTSUPP) => self.discard(position, length),
            result => Ok(result?),
        }
    }
}

/// Repeats a vectored call until all of `buffer` was transferred.
fn transfer(
    buffer: &Segments,
    position: u64,
    mut call: impl FnMut(*const libc::iovec, libc::c_int, libc::off_t) -> libc::ssize_t,
) -> io::Result<()> {
    let mut iovecs = buffer.iovecs();
    let mut rest = iovecs.as_mut_slice();
    let mut position = i64::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
    while !rest.is_empty() {
        // At most `chain::MAX_SEGMENTS`.
        let done = call(rest.as_ptr(), rest.len() as libc::c_int, position);
        let mut done = match usize::try_from(done) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(done) => done,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => continue,
                error => return Err(error),
            },
        };
        position += done as i64;
        while let Some(first) = rest.first_mut() {
            if done < first.iov_len {
                first.iov_base = first.iov_base.wrapping_byte_add(done);
                first.iov_len -= done;
                break;
            }
            done -= first.iov_len;
            rest = &mut rest[1..];
        }
    }
    Ok(())
}
