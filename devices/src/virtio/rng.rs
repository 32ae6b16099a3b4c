//! virtio-rng: a source of entropy, section 5.4 of the specification.

use event_manager::EventOps;
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

use super::chain::Chain;
use super::state::{DeviceMetrics, DeviceState, StateError};
use super::{Active, COMMON_FEATURES, VirtioDevice};

/// The driver has one request under way at a time.
const QUEUE_SIZES: [u16; 1] = [8];

/// The most entropy that one chain is given, in bytes; a driver that wants more asks again.
const MAX_REQUEST: usize = 4096;

/// An entropy device over the host's `getrandom`.
#[derive(Default)]
pub struct Rng {
    metrics: RngMetrics,
}

/// A saved [`Rng`]: it has no state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngState {}

/// What an [`Rng`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngMetrics {
    /// Bytes of entropy given to the guest.
    pub bytes: u64,
    /// Chains that were malformed.
    pub malformed: u64,
    /// Calls of the host's `getrandom` that failed.
    pub failed: u64,
}

impl Rng {
    /// A new device.
    pub fn new() -> Self {
        Self::default()
    }

    fn fill(&mut self, chain: &Chain) -> u32 {
        let mut entropy = [0u8; MAX_REQUEST];
        let length = chain.writable.len().min(MAX_REQUEST);
        let entropy = &mut entropy[..length];
        // Up to 256 bytes come whole; longer requests can be cut short by a signal.
        match rustix::rand::getrandom(&mut *entropy, rustix::rand::GetRandomFlags::empty()) {
            Ok(filled) => {
                let written = chain.writable.write(&entropy[..filled]);
                self.metrics.bytes += written as u64;
                // At most MAX_REQUEST.
                written as u32
            }
            Err(_) => {
                self.metrics.failed += 1;
                0
            }
        }
    }
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        COMMON_FEATURES
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
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
                Ok(chain) if !chain.writable.is_empty() => self.fill(&chain),
                _ => {
                    self.metrics.malformed += 1;
                    0
                }
            };
            queue.add_used(&active.memory, head, written);
        }
        queue.kick();
        active.notify_used(index);
    }

    fn save(&self) -> DeviceState {
        DeviceState::Rng(RngState {})
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError> {
        match state {
            DeviceState::Rng(_) => Ok(()),
            _ => Err(StateError::WrongDevice),
        }
    }

    fn metrics(&self) -> DeviceMetrics {
        DeviceMetrics::Rng(self.metrics)
    }
}
