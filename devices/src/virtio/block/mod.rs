//! virtio-blk: a disk, section 5.2 of the specification.

mod disk;
mod request;

use std::fs::File;

use event_manager::EventOps;
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_blk::*;
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

use self::disk::Disk;
pub use self::disk::DiskError;
use self::request::Request;
use super::chain::Chain;
use super::state::{DeviceMetrics, DeviceState, StateError};
use super::{Active, COMMON_FEATURES, VirtioDevice, copy_config};

/// The unit of a disk's size and of positions on it, in bytes.
pub const SECTOR_SIZE: u64 = 512;

/// The driver allocates and initialises a request for each descriptor when it finds the disk, so more of them cost start time.
const QUEUE_SIZES: [u16; 1] = [64];

/// A chain's descriptors without those for header and status.
const MAX_DATA_SEGMENTS: u32 = QUEUE_SIZES[0] as u32 - 2;

/// The most ranges in one request to discard or to write zeroes.
const MAX_RANGES: u32 = 16;

/// The most sectors in one such range: 2 GiB.
const MAX_RANGE_SECTORS: u32 = 4 << 20;

/// Log2 of how many sectors the pieces have in which the host's storage is best accessed: 4 KiB.
const PHYSICAL_BLOCK_EXPONENT: u8 = 3;

/// The length of the configuration space in bytes.
const CONFIG_SIZE: usize = 60;

/// A disk over a regular file or a block device. I/O is done on the device thread, one request after the other.
pub struct Block {
    disk: Disk,
    /// What the driver reads with GET_ID, padded with zeroes.
    serial: [u8; VIRTIO_BLK_ID_BYTES as usize],
    config: [u8; CONFIG_SIZE],
    metrics: BlockMetrics,
}

/// A saved [`Block`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockState {
    /// The disk's size in sectors.
    pub sectors: u64,
    /// Whether the guest can only read it.
    pub read_only: bool,
    /// The serial number that the guest reads.
    pub serial: [u8; VIRTIO_BLK_ID_BYTES as usize],
}

/// What a [`Block`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockMetrics {
    /// Requests to read.
    pub reads: u64,
    /// Requests to write.
    pub writes: u64,
    /// Requests to flush.
    pub flushes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Requests that ended with an error.
    pub failed: u64,
    /// Chains that held no request.
    pub malformed: u64,
}

impl Block {
    /// A disk over `file`, which may be opened for reading only when the disk is `read_only`. `size` is what the guest sees in bytes
    /// instead of the file's size; a read beyond the file fails. Only the first 20 bytes of `serial` count.
    pub fn new(
        file: File,
        read_only: bool,
        size: Option<u64>,
        serial: &str,
    ) -> Result<Self, DiskError> {
        let disk = Disk::new(file, read_only, size)?;
        let mut padded = [0; VIRTIO_BLK_ID_BYTES as usize];
        let length = serial.len().min(padded.len());
        padded[..length].copy_from_slice(&serial.as_bytes()[..length]);
        Ok(Self {
            config: config_space(disk.sectors()),
            disk,
            serial: padded,
            metrics: BlockMetrics::default(),
        })
    }

    /// Carries out the request in a chain; returns how many bytes were written to the chain.
    fn execute(&mut self, chain: Chain) -> u32 {
        let Some(request) = Request::parse(chain) else {
            self.metrics.malformed += 1;
            return 0;
        };
        let (status, written) = match request.execute(&self.disk, &self.serial, &mut self.metrics) {
            Ok(written) => (VIRTIO_BLK_S_OK, written),
            Err(error) => {
                self.metrics.failed += 1;
                tracing::debug!("request {} of the guest to its disk: {error}", request.kind);
                (error.status(), 0)
            }
        };
        request.status.write(&[status as u8]);
        written + 1
    }
}

impl VirtioDevice for Block {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        let mut features = COMMON_FEATURES
            | 1 << VIRTIO_BLK_F_SEG_MAX
            | 1 << VIRTIO_BLK_F_BLK_SIZE
            | 1 << VIRTIO_BLK_F_TOPOLOGY
            | 1 << VIRTIO_BLK_F_FLUSH;
        features |= match self.disk.read_only() {
            true => 1 << VIRTIO_BLK_F_RO,
            false => 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES,
        };
        features
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&self.config, offset, data);
    }

    fn process_queue(&mut self, index: usize, active: &mut Active, _ops: &mut EventOps) {
        let Some(queue) = active.queues.get_mut(index) else {
            return;
        };
        for _ in 0..queue.size() {
            let Some(chain) = queue.pop(&active.memory) else {
                return active.notify_used(index);
            };
            let head = chain.head_index();
            let written = match Chain::parse(&active.memory, chain) {
                Ok(chain) => self.execute(chain),
                Err(_) => {
                    self.metrics.malformed += 1;
                    0
                }
            };
            queue.add_used(&active.memory, head, written);
        }
        // The other devices come first, then the rest.
        queue.kick();
        active.notify_used(index);
    }

    fn save(&self) -> DeviceState {
        DeviceState::Block(BlockState {
            sectors: self.disk.sectors(),
            read_only: self.disk.read_only(),
            serial: self.serial,
        })
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError> {
        let DeviceState::Block(state) = state else {
            return Err(StateError::WrongDevice);
        };
        if state.sectors != self.disk.sectors() {
            return Err(StateError::DiskSize {
                expected: state.sectors,
                found: self.disk.sectors(),
            });
        }
        if state.read_only != self.disk.read_only() {
            return Err(StateError::DiskMode(state.read_only));
        }
        self.serial = state.serial;
        Ok(())
    }

    fn metrics(&self) -> DeviceMetrics {
        DeviceMetrics::Block(self.metrics)
    }
}

/// `struct virtio_blk_config` of section 5.2.4. What is not set has the meaning of zero: one queue, no geometry.
fn config_space(sectors: u64) -> [u8; CONFIG_SIZE] {
    let mut config = [0; CONFIG_SIZE];
    let mut set =
        |offset: usize, bytes: &[u8]| config[offset..offset + bytes.len()].copy_from_slice(bytes);
    set(0, &sectors.to_le_bytes());
    set(12, &MAX_DATA_SEGMENTS.to_le_bytes());
    set(20, &(SECTOR_SIZE as u32).to_le_bytes());
    set(24, &[PHYSICAL_BLOCK_EXPONENT]);
    let discard_alignment = 1u32 << PHYSICAL_BLOCK_EXPONENT;
    for (offset, value) in [
        (36, MAX_RANGE_SECTORS),
        (40, MAX_RANGES),
        (44, discard_alignment),
        (48, MAX_RANGE_SECTORS),
        (52, MAX_RANGES),
    ] {
        set(offset, &value.to_le_bytes());
    }
    // Zeroes may be written by freeing the space.
    set(56, &[1]);
    config
}

#[cfg(test)]
mod tests;
