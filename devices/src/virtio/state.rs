//! What of a virtio device is saved, and what it counts.

use serde::{Deserialize, Serialize};

use super::balloon::{BalloonMetrics, BalloonState};
use super::block::{BlockMetrics, BlockState};
use super::net::{NetMetrics, NetState};
use super::rng::{RngMetrics, RngState};
use super::vsock::{VsockMetrics, VsockState};

/// A saved device with its transport.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransportState {
    /// The device status field.
    pub status: u32,
    /// Which half of the device's features the driver reads.
    pub device_features_select: u32,
    /// Which half of its own features the driver writes.
    pub driver_features_select: u32,
    /// The features that the driver accepted.
    pub driver_features: u64,
    /// The queue that the driver is setting up.
    pub queue_select: u32,
    /// The interrupt status register.
    pub interrupt_status: u32,
    /// The configuration space's generation.
    pub config_generation: u32,
    /// Whether the device has asked for a reset.
    pub needs_reset: bool,
    /// The queues.
    pub queues: Vec<QueueState>,
    /// The device itself.
    pub device: DeviceState,
}

/// A saved device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DeviceState {
    /// A disk.
    Block(BlockState),
    /// A network interface.
    Net(NetState),
    /// A vsock device.
    Vsock(VsockState),
    /// A source of entropy.
    Rng(RngState),
    /// A balloon.
    Balloon(BalloonState),
}

/// What a device has counted since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DeviceMetrics {
    /// A disk.
    Block(BlockMetrics),
    /// A network interface.
    Net(NetMetrics),
    /// A vsock device.
    Vsock(VsockMetrics),
    /// A source of entropy.
    Rng(RngMetrics),
    /// A balloon.
    Balloon(BalloonMetrics),
}

/// Why a saved state does not fit.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The state is one of another kind of device.
    #[error("the saved state is that of another kind of device")]
    WrongDevice,
    /// The device has another number of queues.
    #[error("the saved state has {found} queues, the device has {expected}")]
    QueueCount {
        /// How many the device has.
        expected: usize,
        /// How many the state has.
        found: usize,
    },
    /// A queue's state is not possible.
    #[error("queue {0} of the saved state: {1}")]
    Queue(usize, virtio_queue::Error),
    /// A queue in use lies outside of the guest's memory.
    #[error("queue {0} of the saved state lies outside of the guest's memory")]
    QueueMemory(usize),
    /// The driver uses features that the device doesn't have.
    #[error("the saved state uses features {0:#x}, which the device doesn't have")]
    Features(u64),
    /// A disk has another size than when it was saved.
    #[error("the disk has {found} sectors, but had {expected} when its state was saved")]
    DiskSize {
        /// Sectors in the saved state.
        expected: u64,
        /// Sectors of the disk.
        found: u64,
    },
    /// A disk is writable in the state but not here, or the other way round.
    #[error("the disk was saved as {} and is opened the other way", if *.0 { "read-only" } else { "writable" })]
    DiskMode(bool),
    /// An eventfd could not be duplicated.
    #[error("duplicating an eventfd")]
    EventFd(#[source] std::io::Error),
}

/// A virtqueue's state; [`virtio_queue::QueueState`] made serialisable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// The largest size that the device offers.
    pub max_size: u16,
    /// The next entry of the available ring to be taken.
    pub next_avail: u16,
    /// The next entry of the used ring to be written.
    pub next_used: u16,
    /// Whether `VIRTIO_F_EVENT_IDX` is in use.
    pub event_idx_enabled: bool,
    /// The size that the driver chose.
    pub size: u16,
    /// Whether the driver has set the queue up.
    pub ready: bool,
    /// Guest-physical address of the descriptor table.
    pub desc_table: u64,
    /// Guest-physical address of the available ring.
    pub avail_ring: u64,
    /// Guest-physical address of the used ring.
    pub used_ring: u64,
}

impl From<virtio_queue::QueueState> for QueueState {
    fn from(state: virtio_queue::QueueState) -> Self {
        Self {
            max_size: state.max_size,
            next_avail: state.next_avail,
            next_used: state.next_used,
            event_idx_enabled: state.event_idx_enabled,
            size: state.size,
            ready: state.ready,
            desc_table: state.desc_table,
            avail_ring: state.avail_ring,
            used_ring: state.used_ring,
        }
    }
}

impl From<QueueState> for virtio_queue::QueueState {
    fn from(state: QueueState) -> Self {
        Self {
            max_size: state.max_size,
            next_avail: state.next_avail,
            next_used: state.next_used,
            event_idx_enabled: state.event_idx_enabled,
            size: state.size,
            ready: state.ready,
            desc_table: state.desc_table,
            avail_ring: state.avail_ring,
            used_ring: state.used_ring,
        }
    }
}
