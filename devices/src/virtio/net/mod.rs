//! virtio-net: a network interface on a tap or a socket, section 5.1 of the specification.

mod stream;
mod tap;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use event_manager::{EventOps, EventSet, Events};
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::*;

use self::stream::Stream;
pub use self::tap::TapError;
use self::tap::{HEADER_SIZE, Tap};
use super::chain::{Chain, Segments};
use super::queue::VirtQueue;
use super::state::{DeviceMetrics, DeviceState, StateError};
use super::{Active, COMMON_FEATURES, StartError, VirtioDevice, copy_config};

const RX: usize = 0;
const TX: usize = 1;

/// Linux fills the receive queue when the interface goes up, so a larger queue costs start time; with fewer buffers of
/// 1.5 KiB a segmentation-offloaded packet of 64 KiB might find no room before the driver refills the queue.
const QUEUE_SIZES: [u16; 2] = [128, 128];

/// How many packets the guest is given before the other devices have their turn.
const RX_BATCH: usize = 256;

/// The largest packet that can come when the guest accepts offloaded segmentation, with the virtio header.
const MAX_OFFLOADED: usize = HEADER_SIZE + 14 + 65535;
/// The largest packet otherwise: an Ethernet frame with a VLAN tag.
const MAX_PLAIN: usize = HEADER_SIZE + 18 + 1500;
/// The smallest packet to be sent: an Ethernet header.
const MIN_PACKET: usize = HEADER_SIZE + 14;

/// How a link is watched.
const READ: EventSet = EventSet::IN.union(EventSet::EDGE_TRIGGERED);

/// Where `num_buffers` is in the virtio header.
const NUM_BUFFERS: usize = 10;

/// The features besides the common ones.
const FEATURES: u64 = 1 << VIRTIO_NET_F_MRG_RXBUF | 1 << VIRTIO_NET_F_MAC;
/// Those on a tap: checksums and TCP segmentation are left to the other side, in both directions.
const OFFLOADS: u64 = 1 << VIRTIO_NET_F_CSUM
    | 1 << VIRTIO_NET_F_GUEST_CSUM
    | 1 << VIRTIO_NET_F_HOST_TSO4
    | 1 << VIRTIO_NET_F_HOST_TSO6
    | 1 << VIRTIO_NET_F_GUEST_TSO4
    | 1 << VIRTIO_NET_F_GUEST_TSO6;

/// A network interface.
pub struct Net {
    link: Link,
    mac: [u8; 6],
    /// There may be something to read from the link, which is watched edge-triggered.
    readable: bool,
    metrics: NetMetrics,
}

/// Where the guest's packets go.
enum Link {
    Tap(Tap),
    Stream(Stream),
}

/// A saved [`Net`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    /// The MAC address that the guest sees.
    pub mac: [u8; 6],
}

/// What a [`Net`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetMetrics {
    /// Packets given to the guest.
    pub rx_packets: u64,
    /// Their bytes, with headers.
    pub rx_bytes: u64,
    /// Packets that could not be given to the guest.
    pub rx_failed: u64,
    /// Packets of the guest.
    pub tx_packets: u64,
    /// Their bytes, with headers.
    pub tx_bytes: u64,
    /// Packets of the guest that the link did not take.
    pub tx_failed: u64,
    /// Chains that held no packet or no room for one.
    pub malformed: u64,
}

impl Net {
    /// An interface with address `mac` on a tap that was opened with `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`.
    pub fn new(tap: OwnedFd, mac: [u8; 6]) -> Result<Self, TapError> {
        Ok(Self::on(Link::Tap(Tap::new(tap)?), mac))
    }

    /// An interface with address `mac` on a Unix stream socket, over which frames go behind their lengths (`u32`, big-endian).
    pub fn on_socket(socket: OwnedFd, mac: [u8; 6]) -> io::Result<Self> {
        Ok(Self::on(Link::Stream(Stream::new(socket)?), mac))
    }

    fn on(link: Link, mac: [u8; 6]) -> Self {
        Self {
            link,
            mac,
            readable: false,
            metrics: NetMetrics::default(),
        }
    }

    /// Gives the guest the link's packets for which it has buffers. When it has too few, the packets stay where they are.
    fn process_rx(&mut self, active: &mut Active) {
        let merge = active.has_feature(VIRTIO_NET_F_MRG_RXBUF);
        let offloaded = active.has_feature(VIRTIO_NET_F_GUEST_TSO4)
            || active.has_feature(VIRTIO_NET_F_GUEST_TSO6);
        let wanted = if offloaded { MAX_OFFLOADED } else { MAX_PLAIN };
        let Some(queue) = active.queues.get_mut(RX) else {
            return;
        };
        for _ in 0..RX_BATCH {
            if !self.readable {
                return active.notify_used(RX);
            }
            let wanted = match self.link.next_length(wanted) {
                Ok(Some(wanted)) => wanted,
                result => {
                    self.readable = false;
                    self.metrics.rx_failed += u64::from(result.is_err());
                    continue;
                }
            };
            let buffers = RxBuffers::take(
                queue,
                &active.memory,
                wanted,
                merge,
                &mut self.metrics.malformed,
            );
            let Some(buffers) = buffers else {
                return active.notify_used(RX);
            };
            match self.link.read(&buffers.segments) {
                Ok(Some(length)) if length >= HEADER_SIZE => {
                    self.metrics.rx_packets += 1;
                    self.metrics.rx_bytes += length as u64;
                    buffers.give_back(queue, &active.memory, length);
                }
                Ok(None) => {
                    self.readable = false;
                    buffers.put_back(queue);
                }
                // It found no room.
                Ok(Some(_)) => {
                    self.metrics.rx_failed += 1;
                    buffers.put_back(queue);
                }
                // The tap's interface is down, or the link is gone. It is tried again at the next event.
                Err(_) => {
                    self.readable = false;
                    self.metrics.rx_failed += 1;
                    buffers.put_back(queue);
                }
            }
        }
        queue.kick();
        active.notify_used(RX);
    }

    /// Sends the guest's packets. Those for which a socket has no room wait until it has.
    fn process_tx(&mut self, active: &mut Active, ops: &mut EventOps) {
        let Some(queue) = active.queues.get_mut(TX) else {
            return;
        };
        for _ in 0..queue.size() {
            let Some(chain) = queue.pop(&active.memory) else {
                return active.notify_used(TX);
            };
            let head = chain.head_index();
            match Chain::parse(&active.memory, chain) {
                Ok(chain) if (MIN_PACKET..=MAX_OFFLOADED).contains(&chain.readable.len()) => {
                    match self.link.write(&chain.readable) {
                        Ok(length) => {
                            self.metrics.tx_packets += 1;
                            self.metrics.tx_bytes += length as u64;
                        }
                        Err(error)
                            if error.kind() == io::ErrorKind::WouldBlock
                                && self.link.waits(ops) =>
                        {
                            queue.undo_pop(1);
                            return active.notify_used(TX);
                        }
                        // A network may lose packets.
                        Err(_) => self.metrics.tx_failed += 1,
                    }
                }
                _ => self.metrics.malformed += 1,
            }
            queue.add_used(&active.memory, head, 0);
        }
        queue.kick();
        active.notify_used(TX);
    }
}

impl Link {
    /// The room that the next packet wants; `None` when there is none. A tap does not tell, and gets `unknown`.
    fn next_length(&mut self, unknown: usize) -> io::Result<Option<usize>> {
        match self {
            Self::Tap(_) => Ok(Some(unknown)),
            Self::Stream(stream) => stream.next_length(),
        }
    }

    /// Has the event loop tell when there is room again; whether it will. A tap always has room, or is gone.
    fn waits(&self, ops: &mut EventOps) -> bool {
        let both = READ | EventSet::OUT;
        matches!(self, Self::Stream(_)) && ops.modify(Events::new(self, both)).is_ok()
    }

    /// Reads one packet with its header; `None` when there is none.
    fn read(&mut self, buffer: &Segments) -> io::Result<Option<usize>> {
        match self {
            Self::Tap(tap) => tap.read(buffer),
            Self::Stream(stream) => stream.read(buffer),
        }
    }

    /// Sends one packet with its header.
    fn write(&mut self, packet: &Segments) -> io::Result<usize> {
        match self {
            Self::Tap(tap) => tap.write(packet),
            Self::Stream(stream) => stream.write(packet),
        }
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tap(tap) => tap.as_raw_fd(),
            Self::Stream(stream) => stream.as_raw_fd(),
        }
    }
}

/// Buffers of the guest for one packet, each with its head and its length.
struct RxBuffers<'m> {
    segments: Segments<'m>,
    chains: Vec<(u16, usize)>,
}

impl<'m> RxBuffers<'m> {
    /// Takes buffers for a packet of `wanted` bytes: as many as are needed if packets can be spread over several, else one.
    /// `None` if there are too few, and then none is taken.
    fn take(
        queue: &mut VirtQueue,
        memory: &'m vm_memory::GuestMemoryMmap,
        wanted: usize,
        merge: bool,
        malformed: &mut u64,
    ) -> Option<Self> {
        let mut buffers = Self {
            segments: Segments::default(),
            chains: Vec::new(),
        };
        loop {
            let Some(chain) = queue.pop(memory) else {
                buffers.put_back(queue);
                return None;
            };
            let head = chain.head_index();
            match Chain::parse(memory, chain) {
                Ok(chain) if chain.writable.len() >= HEADER_SIZE => {
                    if buffers.segments.pieces() + chain.writable.pieces()
                        > super::chain::MAX_SEGMENTS
                    {
                        queue.undo_pop(1);
                        return Some(buffers);
                    }
                    buffers.chains.push((head, chain.writable.len()));
                    buffers.segments.append(chain.writable);
                }
                // A bad buffer goes back at once, and those before it are taken again, so that the order stays.
                _ if buffers.chains.is_empty() => {
                    *malformed += 1;
                    queue.add_used(memory, head, 0);
                    continue;
                }
                _ => {
                    queue.undo_pop(1);
                    // What there is must do: the bad buffer is met first next time.
                    return Some(buffers);
                }
            }
            if !merge || buffers.segments.len() >= wanted {
                return Some(buffers);
            }
        }
    }

    /// Gives the driver the first buffers with a packet of `length` bytes in them; the others stay available.
    fn give_back(self, queue: &mut VirtQueue, memory: &vm_memory::GuestMemoryMmap, length: usize) {
        let mut left = length;
        let used = self.chains.iter().map_while(|&(head, size)| {
            let written = size.min(left);
            left -= written;
            (written > 0).then_some((head, written))
        });
        let used: Vec<_> = used.collect();
        // At most the size of a queue.
        let count = used.len() as u16;
        self.segments.write_at(NUM_BUFFERS, &count.to_le_bytes());
        for &(head, written) in &used {
            queue.add_used(memory, head, written as u32);
        }
        queue.undo_pop(self.chains.len() - used.len());
    }

    fn put_back(self, queue: &mut VirtQueue) {
        queue.undo_pop(self.chains.len());
    }
}

impl VirtioDevice for Net {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        let offloads = match self.link {
            Link::Tap(_) => OFFLOADS,
            Link::Stream(_) => 0,
        };
        COMMON_FEATURES | FEATURES | offloads
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&self.mac, offset, data);
    }

    fn start(&mut self, active: &mut Active, ops: &mut EventOps) -> Result<(), StartError> {
        if let Link::Tap(tap) = &self.link {
            tap.set_offloads(active.features)
                .map_err(|error| StartError::System("setting the offloads of a tap", error))?;
        }
        self.readable = true;
        ops.add(Events::new(&self.link, READ))
            .map_err(StartError::Register)
    }

    fn stop(&mut self, ops: &mut EventOps) {
        let _ = ops.remove(Events::empty(&self.link));
        self.readable = false;
    }

    fn process_queue(&mut self, index: usize, active: &mut Active, ops: &mut EventOps) {
        match index {
            RX => self.process_rx(active),
            TX => self.process_tx(active, ops),
            _ => {}
        }
    }

    fn process_event(&mut self, events: Events, active: &mut Active, ops: &mut EventOps) {
        if events.event_set().contains(EventSet::OUT) {
            let _ = ops.modify(Events::new(&self.link, READ));
            self.process_tx(active, ops);
        }
        self.readable = true;
        self.process_rx(active);
    }

    fn save(&self) -> DeviceState {
        DeviceState::Net(NetState { mac: self.mac })
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError> {
        match state {
            // The driver has read the address long ago; it is for the guest to take over another one.
            DeviceState::Net(_) => Ok(()),
            _ => Err(StateError::WrongDevice),
        }
    }

    fn metrics(&self) -> DeviceMetrics {
        DeviceMetrics::Net(self.metrics)
    }
}

#[cfg(test)]
mod tests;
