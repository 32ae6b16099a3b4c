//! virtio-net: a network interface on a tap, section 5.1 of the specification.

use std::os::fd::OwnedFd;

use event_manager::EventOps;
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;

use super::state::{DeviceMetrics, DeviceState, StateError};
use super::{Active, COMMON_FEATURES, VirtioDevice};

/// A network interface.
pub struct Net {
    _tap: OwnedFd,
    mac: [u8; 6],
}

/// A saved [`Net`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    /// The MAC address that the guest sees.
    pub mac: [u8; 6],
}

/// What a [`Net`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetMetrics {}

impl Net {
    /// An interface on a tap that was opened with `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`.
    pub fn new(tap: OwnedFd, mac: [u8; 6]) -> std::io::Result<Self> {
        Ok(Self { _tap: tap, mac })
    }
}

impl VirtioDevice for Net {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_NET
    }
    fn queue_max_sizes(&self) -> &[u16] {
        &[128, 128]
    }
    fn features(&self) -> u64 {
        COMMON_FEATURES
    }
    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }
    fn process_queue(&mut self, _index: usize, _active: &mut Active, _ops: &mut EventOps) {}
    fn save(&self) -> DeviceState {
        DeviceState::Net(NetState { mac: self.mac })
    }
    fn restore(&mut self, _state: &DeviceState) -> Result<(), StateError> {
        Ok(())
    }
    fn metrics(&self) -> DeviceMetrics {
        DeviceMetrics::Net(NetMetrics {})
    }
}
