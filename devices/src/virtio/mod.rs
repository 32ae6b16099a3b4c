//! Virtio devices (OASIS virtio 1.2), and what they share.

pub mod balloon;
pub mod block;
pub mod chain;
pub mod interrupt;
pub mod mmio;
pub mod net;
pub mod queue;
pub mod rng;
pub mod state;
pub mod subscriber;
pub mod vsock;

#[cfg(test)]
mod testing;

use event_manager::{EventOps, Events};
use vm_memory::GuestMemoryMmap;

use self::interrupt::Interrupt;
use self::queue::VirtQueue;
use self::state::{DeviceState, StateError};

/// The features every device here has: virtio 1, and notifications only where the other side asked for them.
pub const COMMON_FEATURES: u64 = 1 << virtio_bindings::virtio_config::VIRTIO_F_VERSION_1
    | 1 << virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

/// A virtio device, without its transport.
///
/// Methods that get an [`Active`] or an [`EventOps`] run on the device thread, the others on vCPU threads;
/// never two at once.
pub trait VirtioDevice: Send {
    /// The device's type, section 5 of the specification.
    fn device_type(&self) -> u32;

    /// The largest size of each queue: powers of two.
    fn queue_max_sizes(&self) -> &[u16];

    /// The features that the device offers, [`COMMON_FEATURES`] included.
    fn features(&self) -> u64;

    /// Reads from the configuration space; what lies outside of it reads as zeroes.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes to the configuration space. Most devices here have no field that can be written.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    /// The driver is ready: the place to register descriptors of the device's own, with tokens below
    /// [`subscriber::FIRST_RESERVED_TOKEN`]. Every queue is processed once afterwards.
    fn start(&mut self, _active: &mut Active, _ops: &mut EventOps) -> Result<(), StartError> {
        Ok(())
    }

    /// The driver has reset the device: unregister what [`start`](Self::start) or later calls registered and forget everything.
    fn stop(&mut self, _ops: &mut EventOps) {}

    /// The driver has put buffers into a queue, or may have.
    fn process_queue(&mut self, index: usize, active: &mut Active, ops: &mut EventOps);

    /// A descriptor of the device's own is ready.
    fn process_event(&mut self, _events: Events, _active: &mut Active, _ops: &mut EventOps) {}

    /// The device's own state, without its queues.
    fn save(&self) -> DeviceState;

    /// Takes over a state saved by a device of the same kind, before the device is started.
    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError>;

    /// How many bytes the device has taken from the guest that the host has not taken from the device yet.
    fn undelivered(&self) -> u64 {
        0
    }

    /// What the device has counted so far.
    fn metrics(&self) -> state::DeviceMetrics;
}

/// What a device has while its driver is using it.
pub struct Active {
    /// The guest's memory.
    pub memory: GuestMemoryMmap,
    /// The device's queues, as many as [`VirtioDevice::queue_max_sizes`] names.
    pub queues: Vec<VirtQueue>,
    /// The device's interrupt.
    pub interrupt: Interrupt,
    /// The features that driver and device agreed on.
    pub features: u64,
}

impl Active {
    /// Whether driver and device agreed on feature bit `bit`.
    pub fn has_feature(&self, bit: u32) -> bool {
        self.features & (1 << bit) != 0
    }

    /// Interrupts the driver when it wants to know about the buffers that were used in a queue.
    pub fn notify_used(&mut self, queue: usize) {
        if let Some(queue) = self.queues.get_mut(queue)
            && queue.needs_notification(&self.memory)
        {
            self.interrupt.signal_used_queue();
        }
    }
}

/// Why a device could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A descriptor could not be watched.
    #[error("registering a descriptor with the event loop: {0}")]
    Register(event_manager::Error),
    /// A system call failed.
    #[error("{0}")]
    System(&'static str, #[source] std::io::Error),
}

/// Copies the part of a configuration space that an access covers; the rest is zero.
pub(crate) fn copy_config(config: &[u8], offset: u64, data: &mut [u8]) {
    data.fill(0);
    let Some(source) = usize::try_from(offset)
        .ok()
        .and_then(|offset| config.get(offset..))
    else {
        return;
    };
    let length = source.len().min(data.len());
    data[..length].copy_from_slice(&source[..length]);
}
