//! A file that is mapped into guest memory instead of being read into it, wherever file and memory are aligned to pages.
//!
//! Guests then share the pages that they don't write to, with each other and with the host's page cache, and
//! starting one costs no copy.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::mm::{MapFlags, ProtFlags, mmap};
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice};

const PAGE: usize = 4096;

/// A kernel or an initramfs, to be handed to what would read it into guest memory.
///
/// Reading into anything but guest memory must go through [`Read`]; [`ReadVolatile`] replaces whole pages of the memory that it is given
/// by private mappings of the file.
pub struct Image {
    file: File,
    /// The host addresses of the mappings.
    mapped: Vec<Range<usize>>,
}

impl Image {
    /// Takes over `file`. Its content must not change while the guest runs.
    pub fn new(file: File) -> Self {
        Self {
            file,
            mapped: Vec::new(),
        }
    }

    /// The host addresses where the file is mapped.
    pub fn mapped(&self) -> &[Range<usize>] {
        &self.mapped
    }
}

impl Read for Image {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for Image {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

impl ReadVolatile for Image {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        buffer: &mut VolatileSlice<B>,
    ) -> Result<usize, VolatileMemoryError> {
        let position = self
            .file
            .stream_position()
            .map_err(VolatileMemoryError::IOError)?;
        let size = self
            .file
            .metadata()
            .map_err(VolatileMemoryError::IOError)?
            .len();
        let available = usize::try_from(size.saturating_sub(position)).unwrap_or(usize::MAX);
        let length = buffer.len().min(available) / PAGE * PAGE;
        let guard = buffer.ptr_guard_mut();
        let address = guard.as_ptr();
        if length == 0
            || !(address as usize).is_multiple_of(PAGE)
            || !position.is_multiple_of(PAGE as u64)
        {
            return self.file.read_volatile(buffer);
        }
        // SAFETY: the pages are guest memory, which nobody holds references into, and they stay readable and writable
        // memory; all of them lie inside of `buffer`.
        unsafe {
            mmap(
                address.cast(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
                self.file.as_fd(),
                position,
            )
        }
        .map_err(|error| VolatileMemoryError::IOError(error.into()))?;
        self.mapped
            .push(address as usize..address as usize + length);
        self.file
            .seek(SeekFrom::Start(position + length as u64))
            .map_err(VolatileMemoryError::IOError)?;
        // What is left is less than a page. The caller counts on one call to fill its buffer.
        Ok(length + self.file.read_volatile(&mut buffer.offset(length)?)?)
    }
}
