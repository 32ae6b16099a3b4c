//! virtio-vsock: stream sockets between guest and host, section 5.10 of the specification.
//!
//! The device neither connects nor listens: connections cross a broker socket as open descriptors, see
//! [`Vsock::new`]. Data goes from sockets into the guest's buffers and back without a copy, except for what a slow host leaves
//! behind, which is bounded by the credit that the guest is given.

mod broker;
mod connection;
mod muxer;
mod packet;
mod persist;
mod socket;

use std::os::fd::OwnedFd;

use event_manager::{EventOps, Events};
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;
use virtio_vsock::packet::{PKT_HEADER_SIZE, VsockPacket};

pub use self::connection::BUF_ALLOC;
pub use self::muxer::MAX_CONNECTIONS;
use self::muxer::Muxer;
pub use self::persist::{ConnectionState, VsockState};
use super::chain::Chain;
use super::state::{DeviceMetrics, DeviceState, StateError};
use super::{Active, COMMON_FEATURES, StartError, VirtioDevice, copy_config};

const RX: usize = 0;
const TX: usize = 1;
const EVENT: usize = 2;

/// Linux fills the receive queue with buffers of 4 KiB and the event queue with eight events when it finds the device, so
/// larger queues cost start time.
const QUEUE_SIZES: [u16; 3] = [32, 64, 8];

/// How many packets the guest is given before the other devices have their turn.
const RX_BATCH: usize = 128;

/// `VIRTIO_VSOCK_EVENT_TRANSPORT_RESET`: all connections are gone and the context id is another.
const EVENT_TRANSPORT_RESET: u32 = 0;

/// Why a vsock device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VsockError {
    /// The context id is a reserved one.
    #[error("a guest can't have the vsock context id {0}: it must be from 3 to 4294967294")]
    Cid(u32),
}

/// A vsock device.
pub struct Vsock {
    cid: u32,
    muxer: Muxer,
    /// Connections to go on with, until the device is in use.
    saved: Option<VsockState>,
    /// The guest has still to be told that its context id is another, and its connections are gone.
    reset_due: bool,
    /// The guest's packets wait until it has taken some of ours.
    tx_stopped: bool,
}

/// What a [`Vsock`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockMetrics {
    /// Packets given to the guest.
    pub packets_to_guest: u64,
    /// Bytes given to the guest.
    pub bytes_to_guest: u64,
    /// Packets taken from the guest.
    pub packets_from_guest: u64,
    /// Bytes taken from the guest.
    pub bytes_from_guest: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Resets given to the guest.
    pub resets: u64,
    /// Connections that were reset because the guest broke their rules.
    pub violations: u64,
    /// Messages of the broker that were not understood, and connections that it didn't take.
    pub broker_errors: u64,
    /// Chains that held no packet or no room for one.
    pub malformed: u64,
}

impl Vsock {
    /// A device for the guest with context id `cid`.
    ///
    /// `broker` is a connected `SOCK_SEQPACKET` Unix socket. A message is a port (`u32`, little-endian) with one
    /// connected stream socket as `SCM_RIGHTS`. From the device: the guest has connected to that port of the host. To
    /// the device: connect this to that port of the guest; when nobody listens there the device closes the socket.
    pub fn new(cid: u32, broker: OwnedFd) -> Result<Self, VsockError> {
        if !(3..u32::MAX).contains(&cid) {
            return Err(VsockError::Cid(cid));
        }
        Ok(Self {
            cid,
            muxer: Muxer::new(cid, broker),
            saved: None,
            reset_due: false,
            tx_stopped: false,
        })
    }

    /// Takes the guest's packets.
    fn process_tx(&mut self, active: &mut Active, ops: &mut EventOps) {
        let Some(queue) = active.queues.get_mut(TX) else {
            return;
        };
        self.tx_stopped = false;
        for _ in 0..queue.size() {
            if self.muxer.is_full() {
                self.tx_stopped = true;
                return active.notify_used(TX);
            }
            let Some(chain) = queue.pop(&active.memory) else {
                return active.notify_used(TX);
            };
            let head = chain.head_index();
            let well_formed = packet::receive_packet(&active.memory, chain, |header, data| {
                self.muxer.receive(header, data, ops);
            });
            if !well_formed {
                self.muxer.metrics.malformed += 1;
            }
            queue.add_used(&active.memory, head, 0);
        }
        queue.kick();
        active.notify_used(TX);
    }

    /// Gives the guest what there is for it, as far as it has buffers. When it has none, nothing is read from the host's sockets.
    fn process_rx(&mut self, active: &mut Active, ops: &mut EventOps) {
        let Some(queue) = active.queues.get_mut(RX) else {
            return;
        };
        let mut given = 0;
        while self.muxer.has_pending() {
            if given == RX_BATCH {
                queue.kick();
                break;
            }
            let Some(mut chain) = queue.pop(&active.memory) else {
                break;
            };
            let head = chain.head_index();
            let packet = VsockPacket::from_rx_virtq_chain(&active.memory, &mut chain, u32::MAX);
            given += 1;
            let Some(mut packet) = packet.ok().filter(|packet| packet.data_slice().is_some())
            else {
                self.muxer.metrics.malformed += 1;
                queue.add_used(&active.memory, head, 0);
                continue;
            };
            match self.muxer.produce(&mut packet, ops) {
                Some(length) => {
                    queue.add_used(&active.memory, head, PKT_HEADER_SIZE as u32 + length)
                }
                None => {
                    queue.undo_pop(1);
                    break;
                }
            }
        }
        active.notify_used(RX);
        if self.tx_stopped && !self.muxer.is_full() {
            self.tx_stopped = false;
            if let Some(queue) = active.queues.get(TX) {
                queue.kick();
            }
        }
    }

    /// Tells the guest that its connections are gone, when that is due and it has a buffer for it.
    fn process_event_queue(&mut self, active: &mut Active) {
        let Some(queue) = active.queues.get_mut(EVENT).filter(|_| self.reset_due) else {
            return;
        };
        for _ in 0..queue.size() {
            let Some(chain) = queue.pop(&active.memory) else {
                break;
            };
            let head = chain.head_index();
            let event = EVENT_TRANSPORT_RESET.to_le_bytes();
            let written =
                Chain::parse(&active.memory, chain).map_or(0, |chain| chain.writable.write(&event));
            queue.add_used(&active.memory, head, written as u32);
            if written == event.len() {
                self.reset_due = false;
                break;
            }
            self.muxer.metrics.malformed += 1;
        }
        active.notify_used(EVENT);
    }
}

impl VirtioDevice for Vsock {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_VSOCK
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        COMMON_FEATURES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&u64::from(self.cid).to_le_bytes(), offset, data);
    }

    fn start(&mut self, _active: &mut Active, ops: &mut EventOps) -> Result<(), StartError> {
        self.muxer.start(ops).map_err(StartError::Register)?;
        if let Some(saved) = self.saved.take() {
            self.muxer.restore(saved, ops);
        }
        Ok(())
    }

    fn stop(&mut self, ops: &mut EventOps) {
        self.muxer.stop(ops);
        self.reset_due = false;
        self.tx_stopped = false;
    }

    fn process_queue(&mut self, index: usize, active: &mut Active, ops: &mut EventOps) {
        match index {
            EVENT => return self.process_event_queue(active),
            TX => self.process_tx(active, ops),
            _ => {}
        }
        self.process_rx(active, ops);
    }

    fn process_event(&mut self, events: Events, active: &mut Active, ops: &mut EventOps) {
        self.muxer.process_event(events, ops);
        self.process_rx(active, ops);
    }

    fn save(&self) -> DeviceState {
        DeviceState::Vsock(self.muxer.save(self.cid))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError> {
        let DeviceState::Vsock(saved) = state else {
            return Err(StateError::WrongDevice);
        };
        self.reset_due = saved.cid != self.cid;
        self.saved = (!self.reset_due).then(|| saved.clone());
        Ok(())
    }

    fn undelivered(&self) -> u64 {
        self.muxer.undelivered()
    }

    fn metrics(&self) -> DeviceMetrics {
        DeviceMetrics::Vsock(self.muxer.metrics)
    }
}

#[cfg(test)]
mod tests;
