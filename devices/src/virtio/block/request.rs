//! A request to a disk: what the driver wants, and doing it (section 5.2.6 of the specification).

use std::io;

use virtio_bindings::virtio_blk::*;

use super::disk::Disk;
use super::{BlockMetrics, MAX_RANGE_SECTORS, MAX_RANGES, SECTOR_SIZE};
use crate::virtio::chain::{Chain, Segments};

/// `struct virtio_blk_req` up to its data.
const HEADER_SIZE: usize = 16;
/// `struct virtio_blk_discard_write_zeroes`.
const RANGE_SIZE: usize = 16;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("the disk is read-only")]
    ReadOnly,
    #[error("it is not made of whole sectors of the disk")]
    OutOfBounds,
    #[error("the host's file")]
    Io(#[from] io::Error),
    #[error("the disk can't do this")]
    Unsupported,
}

impl RequestError {
    pub(super) fn status(&self) -> u32 {
        match self {
            Self::ReadOnly | Self::OutOfBounds => VIRTIO_BLK_S_IOERR,
            Self::Io(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                VIRTIO_BLK_S_UNSUPP
            }
            Self::Io(_) => VIRTIO_BLK_S_IOERR,
            Self::Unsupported => VIRTIO_BLK_S_UNSUPP,
        }
    }
}

/// A request in the guest's memory.
pub(super) struct Request<'m> {
    /// One of `VIRTIO_BLK_T_*`.
    pub(super) kind: u32,
    sector: u64,
    /// Data from the driver.
    output: Segments<'m>,
    /// Data for the driver.
    input: Segments<'m>,
    /// The byte that tells the driver how it went.
    pub(super) status: Segments<'m>,
}

impl<'m> Request<'m> {
    /// The request in a chain; `None` when there is no room for its header or status.
    pub(super) fn parse(chain: Chain<'m>) -> Option<Self> {
        let (header, output) = chain.readable.split_at(HEADER_SIZE)?;
        let input_length = chain.writable.len().checked_sub(1)?;
        let (input, status) = chain.writable.split_at(input_length)?;
        let mut bytes = [0; HEADER_SIZE];
        header.read(&mut bytes);
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = bytes;
        Some(Self {
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            sector: u64::from_le_bytes(sector),
            output,
            input,
            status,
        })
    }

    /// Carries the request out; returns how many bytes were written for the driver.
    pub(super) fn execute(
        &self,
        disk: &Disk,
        serial: &[u8],
        metrics: &mut BlockMetrics,
    ) -> Result<u32, RequestError> {
        match self.kind {
            VIRTIO_BLK_T_IN => {
                disk.read(&self.input, self.position(disk, &self.input)?)?;
                metrics.reads += 1;
                metrics.read_bytes += self.input.len() as u64;
                // A chain is shorter than 4 GiB.
                Ok(self.input.len() as u32)
            }
            VIRTIO_BLK_T_OUT => {
                writable(disk)?;
                disk.write(&self.output, self.position(disk, &self.output)?)?;
                metrics.writes += 1;
                metrics.written_bytes += self.output.len() as u64;
                Ok(0)
            }
            VIRTIO_BLK_T_FLUSH => {
                // A disk that can't be written has nothing to flush.
                if !disk.read_only() {
                    disk.flush()?;
                }
                metrics.flushes += 1;
                Ok(0)
            }
            VIRTIO_BLK_T_GET_ID => Ok(self.input.write(serial) as u32),
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => {
                writable(disk)?;
                self.free_ranges(disk).map(|()| 0)
            }
            _ => Err(RequestError::Unsupported),
        }
    }

    fn position(&self, disk: &Disk, data: &Segments) -> Result<u64, RequestError> {
        disk.position(self.sector, data.len() as u64)
            .ok_or(RequestError::OutOfBounds)
    }

    fn free_ranges(&self, disk: &Disk) -> Result<(), RequestError> {
        let mut ranges = [0; RANGE_SIZE * MAX_RANGES as usize];
        let length = self.output.len();
        if length > ranges.len() || !length.is_multiple_of(RANGE_SIZE) {
            return Err(RequestError::OutOfBounds);
        }
        self.output.read(&mut ranges);
        let (ranges, _) = ranges[..length].as_chunks::<RANGE_SIZE>();
        for &[s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] in ranges {
            let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
            let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
            let flags = u32::from_le_bytes(flags);
            let length = u64::from(sectors) * SECTOR_SIZE;
            let position = disk.position(sector, length);
            let position = position
                .filter(|_| sectors <= MAX_RANGE_SECTORS)
                .ok_or(RequestError::OutOfBounds)?;
            match (self.kind, flags) {
                _ if length == 0 => {}
                (VIRTIO_BLK_T_DISCARD, 0) => disk.discard(position, length)?,
                (VIRTIO_BLK_T_WRITE_ZEROES, 0) => disk.write_zeroes(position, length)?,
                (VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) => {
                    disk.discard(position, length)?;
                }
                _ => return Err(RequestError::Unsupported),
            }
        }
        Ok(())
    }
}

fn writable(disk: &Disk) -> Result<(), RequestError> {
    match disk.read_only() {
        true => Err(RequestError::ReadOnly),
        false => Ok(()),
    }
}
