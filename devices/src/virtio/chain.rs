//! The one place where descriptor chains are checked: from descriptors to slices of the guest's memory.

use std::ops::Range;

use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

use super::queue::GuestChain;

/// The most pieces of memory in a chain: as many as `readv` and `writev` take at once.
pub const MAX_SEGMENTS: usize = 1024;

/// What is wrong with a descriptor chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There is no descriptor in it.
    #[error("the chain is empty")]
    Empty,
    /// It doesn't end, or ends in a descriptor that is not there; or its total length does not fit in 32 bits.
    #[error("the chain has no end")]
    NoEnd,
    /// A descriptor has a length of zero.
    #[error("a descriptor in the chain is empty")]
    EmptyDescriptor,
    /// A device-readable descriptor comes after a device-writable one.
    #[error("a readable descriptor comes after a writable one")]
    Order,
    /// A descriptor points to what is not memory.
    #[error("a descriptor is not in the guest's memory")]
    Memory,
    /// More than [`MAX_SEGMENTS`].
    #[error("the chain has too many pieces")]
    TooLong,
}

/// A descriptor chain that was found to be well formed.
pub struct Chain<'m> {
    /// What the driver has for the device.
    pub readable: Segments<'m>,
    /// What the driver wants from the device.
    pub writable: Segments<'m>,
}

impl<'m> Chain<'m> {
    /// Checks a chain by the rules of section 2.7.4 and 2.7.5 of the specification.
    pub fn parse(memory: &'m GuestMemoryMmap, chain: GuestChain<'m>) -> Result<Self, ChainError> {
        let mut parsed = Self {
            readable: Segments::default(),
            writable: Segments::default(),
        };
        let mut ended = None;
        for descriptor in chain {
            if descriptor.len() == 0 {
                return Err(ChainError::EmptyDescriptor);
            }
            let segments = if descriptor.is_write_only() {
                &mut parsed.writable
            } else if parsed.writable.is_empty() {
                &mut parsed.readable
            } else {
                return Err(ChainError::Order);
            };
            for slice in memory.get_slices(descriptor.addr(), descriptor.len() as usize) {
                segments.push(slice.map_err(|_| ChainError::Memory)?);
            }
            if parsed.readable.slices.len() + parsed.writable.slices.len() > MAX_SEGMENTS {
                return Err(ChainError::TooLong);
            }
            ended = Some(!descriptor.has_next());
        }
        // The iterator stops silently at a loop, at an index outside of the table and at 4 GiB.
        match ended {
            None => Err(ChainError::Empty),
            Some(false) => Err(ChainError::NoEnd),
            Some(true) => Ok(parsed),
        }
    }
}

/// Pieces of the guest's memory that together are one buffer.
#[derive(Default)]
pub struct Segments<'m> {
    slices: Vec<VolatileSlice<'m>>,
    len: usize,
}

impl<'m> Segments<'m> {
    /// The buffer's length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the buffer has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, slice: VolatileSlice<'m>) {
        // Below 2^32: the descriptors of a chain together are no longer.
        self.len += slice.len();
        self.slices.push(slice);
    }

    /// Cuts the buffer in two, the first of `at` bytes; `None` when it is shorter.
    pub fn split_at(self, at: usize) -> Option<(Self, Self)> {
        let mut left = at;
        let (mut head, mut tail) = (Self::default(), Self::default());
        for slice in self.slices {
            if left >= slice.len() {
                left -= slice.len();
                head.push(slice);
            } else if left == 0 {
                tail.push(slice);
            } else {
                let (first, second) = slice.split_at(left).ok()?;
                left = 0;
                head.push(first);
                tail.push(second);
            }
        }
        (left == 0).then_some((head, tail))
    }

    /// Appends another buffer.
    pub fn append(&mut self, mut other: Self) {
        self.len += other.len;
        self.slices.append(&mut other.slices);
    }

    /// Copies the buffer's start into `bytes`; returns how many bytes there were.
    pub fn read(&self, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        for slice in &self.slices {
            if done == bytes.len() {
                break;
            }
            done += slice.copy_to(&mut bytes[done..]);
        }
        done
    }

    /// Copies `bytes` to the buffer's start; returns how many found room.
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut done = 0;
        for slice in &self.slices {
            let length = slice.len().min(bytes.len() - done);
            slice.copy_from(&bytes[done..done + length]);
            done += length;
        }
        done
    }

    /// Copies `bytes` into the buffer, `offset` bytes from its start; what lies beyond its end is left out.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) {
        let mut start = 0;
        for slice in &self.slices {
            // The part of `bytes` that belongs here, in positions of the whole buffer.
            let from = start.max(offset);
            let to = (start + slice.len()).min(offset + bytes.len());
            if from < to
                && let Ok(target) = slice.subslice(from - start, to - from)
            {
                target.copy_from(&bytes[from - offset..to - offset]);
            }
            start += slice.len();
        }
    }

    /// How many pieces the buffer has.
    pub fn pieces(&self) -> usize {
        self.slices.len()
    }

    /// The host addresses of the buffer's pieces. They are good for as long as the memory is.
    pub fn host_ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.slices.iter().map(|slice| {
            let start = slice.ptr_guard_mut().as_ptr() as usize;
            start..start + slice.len()
        })
    }

    /// The buffer for `readv` and its relatives. It is good for as long as the memory is.
    pub fn iovecs(&self) -> Vec<libc::iovec> {
        let iovec = |slice: &VolatileSlice| libc::iovec {
            iov_base: slice.ptr_guard_mut().as_ptr().cast(),
            iov_len: slice.len(),
        };
        self.slices.iter().map(iovec).collect()
    }
}
