//! virtio-balloon: memory that the guest gives back, section 5.5 of the specification.
//!
//! The host asks for memory by the size of the balloon, which the guest fills with pages that it then does without. On its own the
//! guest reports the large blocks that are free; those it can use again at any time.

mod release;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use event_manager::{EventOps, EventSet, Events};
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub use release::release;

use super::chain::{Chain, Segments};
use super::state::{DeviceMetrics, DeviceState, StateError};
use super::{Active, COMMON_FEATURES, StartError, VirtioDevice, copy_config};

/// The balloon's unit, in bytes, whatever the guest's pages are.
pub const PAGE_SIZE: u64 = 4096;

/// The driver takes pages out of the balloon before the guest runs out of memory.
const DEFLATE_ON_OOM: u64 = 1 << 2;
/// The driver reports free pages.
const REPORTING: u64 = 1 << 5;

const INFLATE: usize = 0;
const DEFLATE: usize = 1;
/// Linux numbers queues without gaps for those that a device doesn't have.
const REPORT: usize = 2;
/// Linux has one chain under way at a time in each; one of reports has up to 32 descriptors.
const QUEUE_SIZES: [u16; 3] = [16, 16, 32];

/// How many chains of a queue are worked on before the other devices have their turn.
const CHAINS_AT_ONCE: usize = 4;
/// The most page numbers that are taken from a chain; Linux sends up to 256. Pages left out stay with the guest.
const MAX_PAGES: usize = 4096;

/// Where `actual` is in the configuration space, behind `num_pages`.
const ACTUAL: u64 = 4;
const CHANGED_TOKEN: u32 = 0;

/// A balloon.
pub struct Balloon {
    shared: Arc<Shared>,
    metrics: BalloonMetrics,
}

/// Says how large a [`Balloon`] is to be.
#[derive(Clone)]
pub struct BalloonControl(Arc<Shared>);

struct Shared {
    /// The size that the host asks for, in pages.
    target: AtomicU32,
    /// The size that the driver says it has, in pages.
    actual: AtomicU32,
    changed: EventFd,
}

/// A saved [`Balloon`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonState {
    /// The size that the host asks for, in pages.
    pub target: u32,
    /// The size that the driver says it has, in pages.
    pub actual: u32,
}

/// What a [`Balloon`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonMetrics {
    /// Bytes of free memory that were reported and given back.
    pub reported: u64,
    /// Bytes that were given back because they went into the balloon.
    pub inflated: u64,
    /// Pages put into the balloon that are not in the guest's memory, or were more than a chain may have.
    pub refused: u64,
    /// Chains that were malformed, or named what is not memory.
    pub malformed: u64,
    /// Ranges that the host did not take back.
    pub failed: u64,
}

impl BalloonControl {
    /// Asks the driver for a balloon of so many pages; it comes to that in its own time.
    pub fn set_target(&self, pages: u32) {
        self.0.target.store(pages, Ordering::Release);
        // This fails only when the counter is at its limit, and then the device is about to look anyway.
        let _ = self.0.changed.write(1);
    }

    /// The balloon's size in pages, as the driver tells it.
    pub fn actual(&self) -> u32 {
        self.0.actual.load(Ordering::Acquire)
    }
}

impl Balloon {
    /// A balloon with nothing in it.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                target: AtomicU32::new(0),
                actual: AtomicU32::new(0),
                changed: EventFd::new(EFD_NONBLOCK)?,
            }),
            metrics: BalloonMetrics::default(),
        })
    }

    /// A handle with which the balloon's size is set.
    pub fn control(&self) -> BalloonControl {
        BalloonControl(self.shared.clone())
    }

    /// Gives back the pages whose numbers are in `numbers`.
    fn inflate(&mut self, memory: &GuestMemoryMmap, numbers: &Segments) {
        let mut bytes = vec![0; numbers.len().min(MAX_PAGES * size_of::<u32>())];
        let length = numbers.read(&mut bytes);
        let (numbers_read, _) = bytes[..length].as_chunks();
        let left_out = numbers.len() / size_of::<u32>() - numbers_read.len();
        let mut pages: Vec<u32> = numbers_read
            .iter()
            .copied()
            .map(u32::from_le_bytes)
            .collect();
        let told = pages.len();
        pages.retain(|page| memory.address_in_range(address(*page)));
        self.metrics.refused += (left_out + told - pages.len()) as u64;
        pages.sort_unstable();
        // The driver takes single pages, which often are neighbours.
        for run in pages.chunk_by(|a, b| b - a <= 1) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let length = (u64::from(last - first) + 1) * PAGE_SIZE;
            for slice in memory.get_slices(address(*first), length as usize) {
                let start =
                    slice.map(|slice| (slice.ptr_guard_mut().as_ptr() as usize, slice.len()));
                match start.map(|(start, length)| release(memory, start..start + length)) {
                    Ok(Ok(bytes)) => self.metrics.inflated += bytes,
                    _ => self.metrics.failed += 1,
                }
            }
        }
    }

    /// Gives back free memory.
    fn report(&mut self, memory: &GuestMemoryMmap, free: &Segments) {
        for range in free.host_ranges() {
            match release(memory, range) {
                Ok(bytes) => self.metrics.reported += bytes,
                Err(_) => self.metrics.failed += 1,
            }
        }
    }
}

fn address(page: u32) -> GuestAddress {
    GuestAddress(u64::from(page) * PAGE_SIZE)
}

impl VirtioDevice for Balloon {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_BALLOON
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        COMMON_FEATURES | DEFLATE_ON_OOM | REPORTING
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let target = self.shared.target.load(Ordering::Acquire);
        let actual = self.shared.actual.load(Ordering::Acquire);
        let config = [target.to_le_bytes(), actual.to_le_bytes()];
        copy_config(config.as_flattened(), offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let (ACTUAL, Ok(data)) = (offset, data.try_into()) {
            let actual = u32::from_le_bytes(data);
            self.shared.actual.store(actual, Ordering::Release);
        }
    }

    fn start(&mut self, _active: &mut Active, ops: &mut EventOps) -> Result<(), StartError> {
        let changed = Events::with_data(&self.shared.changed, CHANGED_TOKEN, EventSet::IN);
        ops.add(changed).map_err(StartError::Register)
    }

    fn stop(&mut self, ops: &mut EventOps) {
        let _ = ops.remove(Events::empty(&self.shared.changed));
    }

    fn process_queue(&mut self, index: usize, active: &mut Active, _ops: &mut EventOps) {
        let Some(queue) = active.queues.get_mut(index) else {
            return;
        };
        for _ in 0..CHAINS_AT_ONCE {
            let Some(chain) = queue.pop(&active.memory) else {
                return active.notify_used(index);
            };
            let head = chain.head_index();
            match (index, Chain::parse(&active.memory, chain)) {
                (INFLATE, Ok(chain)) if chain.writable.is_empty() => {
                    self.inflate(&active.memory, &chain.readable);
                }
                // The pages come back by themselves when they are used.
                (DEFLATE, Ok(chain)) if chain.writable.is_empty() => {}
                (REPORT, Ok(chain)) if chain.readable.is_empty() => {
                    self.report(&active.memory, &chain.writable);
                }
                _ => self.metrics.malformed += 1,
            }
            queue.add_used(&active.memory, head, 0);
        }
        queue.kick();
        active.notify_used(index);
    }

    fn process_event(&mut self, _events: Events, active: &mut Active, _ops: &mut EventOps) {
        let _ = self.shared.changed.read();
        active.interrupt.signal_config_change();
    }

    fn save(&self) -> DeviceState {
        DeviceState::Balloon(BalloonState {
            target: self.shared.target.load(Ordering::Acquire),
            actual: self.shared.actual.load(Ordering::Acquire),
        })
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError> {
        let DeviceState::Balloon(state) = state else {
            return Err(StateError::WrongDevice);
        };
        self.shared.target.store(state.target, Ordering::Release);
        self.shared.actual.store(state.actual, Ordering::Release);
        Ok(())
    }

    fn metrics(&self) -> DeviceMetrics {
        DeviceMetrics::Balloon(self.metrics)
    }
}

#[cfg(test)]
mod tests;
