//! virtio-vsock: section 5.10 of the specification.

use std::os::fd::OwnedFd;

use event_manager::EventOps;
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;

use super::state::{DeviceMetrics, DeviceState, StateError};
use super::{Active, COMMON_FEATURES, VirtioDevice};

/// A vsock device.
pub struct Vsock {
    cid: u32,
    _broker: OwnedFd,
}

/// A saved [`Vsock`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockState {}

/// What a [`Vsock`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockMetrics {}

impl Vsock {
    /// A device for the guest with context id `cid`.
    pub fn new(cid: u32, broker: OwnedFd) -> std::io::Result<Self> {
        Ok(Self {
            cid,
            _broker: broker,
        })
    }
}

impl VirtioDevice for Vsock {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_VSOCK
    }
    fn queue_max_sizes(&self) -> &[u16] {
        &[32, 64, 8]
    }
    fn features(&self) -> u64 {
        COMMON_FEATURES
    }
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        super::copy_config(&u64::from(self.cid).to_le_bytes(), offset, data);
    }
    fn process_queue(&mut self, _index: usize, _active: &mut Active, _ops: &mut EventOps) {}
    fn save(&self) -> DeviceState {
        DeviceState::Vsock(VsockState {})
    }
    fn restore(&mut self, _state: &DeviceState) -> Result<(), StateError> {
        Ok(())
    }
    fn metrics(&self) -> DeviceMetrics {
        DeviceMetrics::Vsock(VsockMetrics {})
    }
}
