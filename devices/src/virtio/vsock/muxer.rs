//! All connections of a device, and whose turn it is.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd};

use event_manager::{EventOps, EventSet, Events};
use virtio_vsock::packet::VsockPacket;
use vm_memory::VolatileSlice;

use super::VsockMetrics;
use super::broker::{Broker, Message};
use super::connection::{Connection, Ports};
use super::packet::{HOST_CID, Header, TYPE_STREAM, op};
use super::socket::Socket;
use crate::virtio::subscriber::FIRST_RESERVED_TOKEN;

/// The most connections at a time.
pub const MAX_CONNECTIONS: usize = 1024;

/// When so many resets wait for the guest to take them, its packets wait too.
const MAX_RESETS: usize = 256;

/// The first port of the host for connections that the host asks for.
pub(super) const FIRST_HOST_PORT: u32 = 1 << 30;

/// The event loop's token for the broker; connections have their number.
const BROKER_TOKEN: u32 = 0;

/// How many connections are taken from the broker before the rest of the device has its turn.
const BROKER_BATCH: usize = 16;

/// The connections of a device.
pub struct Muxer {
    pub(super) guest_cid: u64,
    pub(super) broker: Option<Broker>,
    pub(super) connections: HashMap<u32, Connection>,
    by_ports: HashMap<Ports, u32>,
    /// Connections with something for the guest, each at most once.
    pending: VecDeque<u32>,
    /// Answers to packets that belong to no connection.
    pub(super) resets: VecDeque<Header>,
    last_number: u32,
    last_port: u32,
    pub(super) metrics: VsockMetrics,
}

impl Muxer {
    /// No connections yet.
    pub fn new(guest_cid: u32, broker: OwnedFd) -> Self {
        Self {
            guest_cid: guest_cid.into(),
            broker: Some(Broker::new(broker)),
            connections: HashMap::new(),
            by_ports: HashMap::new(),
            pending: VecDeque::new(),
            resets: VecDeque::new(),
            last_number: 0,
            last_port: FIRST_HOST_PORT - 1,
            metrics: VsockMetrics::default(),
        }
    }

    /// Begins to watch for connections that the host asks for.
    pub fn start(&mut self, ops: &mut EventOps) -> event_manager::Result<()> {
        match &self.broker {
            Some(broker) => ops.add(Events::with_data(broker, BROKER_TOKEN, EventSet::IN)),
            None => Ok(()),
        }
    }

    /// Closes all connections.
    pub fn stop(&mut self, ops: &mut EventOps) {
        if let Some(broker) = &self.broker {
            let _ = ops.remove(Events::empty(broker));
        }
        for (_, connection) in self.connections.drain() {
            let _ = ops.remove(Events::empty(&connection.socket));
            connection.socket.close();
        }
        self.by_ports.clear();
        self.pending.clear();
        self.resets.clear();
    }

    /// Whether no more packets of the guest can be taken before it takes some of ours.
    pub fn is_full(&self) -> bool {
        self.resets.len() >= MAX_RESETS
    }

    /// Whether [`produce`](Self::produce) may have something.
    pub fn has_pending(&self) -> bool {
        !self.resets.is_empty() || !self.pending.is_empty()
    }

    /// How much of the guest's data waits for the host to take it, in bytes.
    pub fn undelivered(&self) -> u64 {
        self.connections.values().map(Connection::backlog).sum()
    }

    /// Takes a packet of the guest.
    pub fn receive(&mut self, header: &Header, data: Option<&VolatileSlice>, ops: &mut EventOps) {
        self.metrics.packets_from_guest += 1;
        self.metrics.bytes_from_guest += data.map_or(0, |data| data.len() as u64);
        if header.src_cid != self.guest_cid {
            self.metrics.malformed += 1;
            return;
        }
        if header.dst_cid != HOST_CID || header.socket_type != TYPE_STREAM {
            return self.reset(header);
        }
        let ports = Ports {
            host: header.dst_port,
            guest: header.src_port,
        };
        let Some(&number) = self.by_ports.get(&ports) else {
            return match header.op {
                op::REQUEST => self.accept(ports, header, ops),
                _ => self.reset(header),
            };
        };
        if header.op == op::RST {
            return self.finish(number, ops);
        }
        let Some(connection) = self.connections.get_mut(&number) else {
            return self.reset(header);
        };
        match connection.receive(header, data) {
            Ok(()) if connection.is_closed_by_guest() => {
                self.reset(header);
                self.finish(number, ops);
            }
            Ok(()) => self.update(number, ops),
            Err(_) => {
                self.metrics.violations += 1;
                self.reset(header);
                self.remove(number, ops);
            }
        }
    }

    /// Puts the next packet for the guest into `packet`; returns how much data it has.
    pub fn produce(&mut self, packet: &mut VsockPacket<()>, ops: &mut EventOps) -> Option<u32> {
        if let Some(header) = self.resets.pop_front() {
            self.metrics.packets_to_guest += 1;
            return packet
                .set_header_from_raw(&header.to_bytes())
                .ok()
                .map(|()| 0);
        }
        while let Some(number) = self.pending.pop_front() {
            let Some(connection) = self.connections.get_mut(&number) else {
                continue;
            };
            connection.queued = false;
            let outgoing = packet
                .data_slice()
                .and_then(|buffer| connection.produce(buffer));
            let header = outgoing.map(|outgoing| connection.header(self.guest_cid, &outgoing));
            self.update(number, ops);
            if let Some(header) = header {
                self.metrics.packets_to_guest += 1;
                self.metrics.bytes_to_guest += u64::from(header.len);
                // The slice has the length of a header, so this doesn't fail.
                return packet
                    .set_header_from_raw(&header.to_bytes())
                    .ok()
                    .map(|()| header.len);
            }
        }
        None
    }

    /// A socket is ready.
    pub fn process_event(&mut self, events: Events, ops: &mut EventOps) {
        let set = events.event_set();
        if events.data() == BROKER_TOKEN {
            return self.take_from_broker(ops);
        }
        let number = events.data();
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let hung_up = set.intersects(EventSet::HANG_UP | EventSet::ERROR);
        if hung_up || set.intersects(EventSet::IN | EventSet::READ_HANG_UP) {
            connection.socket_readable(hung_up);
        }
        if connection.has_backlog() {
            connection.socket_writable();
        }
        if connection.draining && (hung_up || !connection.has_backlog()) {
            return self.remove(number, ops);
        }
        self.update(number, ops);
    }

    fn take_from_broker(&mut self, ops: &mut EventOps) {
        for _ in 0..BROKER_BATCH {
            let Some(broker) = &self.broker else {
                return;
            };
            match broker.receive() {
                Message::Connect { port, socket } => self.connect(port, socket, ops),
                Message::Malformed => self.metrics.broker_errors += 1,
                Message::Nothing => return,
                Message::Closed => {
                    let _ = ops.remove(Events::empty(broker));
                    self.broker = None;
                }
            }
        }
    }

    /// The host asks for a connection. When there is no room for it, the socket is closed.
    fn connect(&mut self, guest_port: u32, socket: OwnedFd, ops: &mut EventOps) {
        if self.connections.len() >= MAX_CONNECTIONS {
            self.metrics.refused += 1;
            return;
        }
        let ports = loop {
            self.last_port = self.last_port.wrapping_add(1).max(FIRST_HOST_PORT);
            let ports = Ports {
                host: self.last_port,
                guest: guest_port,
            };
            // The last number means "any port".
            if ports.host != u32::MAX && !self.by_ports.contains_key(&ports) {
                break ports;
            }
        };
        self.insert(Connection::from_host(ports, Socket::new(socket)), ops);
    }

    /// The guest asks for a connection.
    fn accept(&mut self, ports: Ports, request: &Header, ops: &mut EventOps) {
        let room = self.connections.len() < MAX_CONNECTIONS;
        let broker = self.broker.as_ref().filter(|_| room);
        let accepted = match broker.map(|broker| broker.connect(ports.host)) {
            Some(Ok(socket)) => {
                let connection = Connection::from_guest(ports, Socket::new(socket), request);
                self.insert(connection, ops)
            }
            Some(Err(_)) => {
                self.metrics.broker_errors += 1;
                false
            }
            None => false,
        };
        if !accepted {
            self.metrics.refused += 1;
            self.reset(request);
        }
    }

    pub(super) fn insert(&mut self, connection: Connection, ops: &mut EventOps) -> bool {
        let number = loop {
            self.last_number = (self.last_number + 1) % FIRST_RESERVED_TOKEN;
            if self.last_number != BROKER_TOKEN && !self.connections.contains_key(&self.last_number)
            {
                break self.last_number;
            }
        };
        if ops.add(interest(&connection, number, false)).is_err() {
            // Not something that can be watched, so not a socket.
            self.metrics.broker_errors += 1;
            return false;
        }
        self.metrics.connections += 1;
        self.by_ports.insert(connection.ports, number);
        self.connections.insert(number, connection);
        self.update(number, ops);
        true
    }

    /// After something has happened to a connection: has it wait for its turn, and for room in its socket, if it should.
    fn update(&mut self, number: u32, ops: &mut EventOps) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        if !connection.queued && connection.wants_to_send() {
            connection.queued = true;
            self.pending.push_back(number);
        }
        let wants_room = connection.has_backlog();
        if wants_room != connection.watches_room {
            connection.watches_room = wants_room;
            if ops
                .modify(interest(connection, number, wants_room))
                .is_err()
            {
                self.metrics.broker_errors += 1;
            }
        }
    }

    /// Ends a connection that the guest has done with; what it has sent is still delivered.
    fn finish(&mut self, number: u32, ops: &mut EventOps) {
        match self.connections.get_mut(&number) {
            Some(connection) if connection.has_backlog() => {
                connection.draining = true;
                self.by_ports.remove(&connection.ports);
                self.update(number, ops);
            }
            _ => self.remove(number, ops),
        }
    }

    fn remove(&mut self, number: u32, ops: &mut EventOps) {
        let Some(connection) = self.connections.remove(&number) else {
            return;
        };
        // A draining connection's ports can belong to a new one.
        if self.by_ports.get(&connection.ports) == Some(&number) {
            self.by_ports.remove(&connection.ports);
        }
        let _ = ops.remove(Events::empty(&connection.socket));
        connection.socket.close();
    }

    fn reset(&mut self, packet: &Header) {
        // A reset is never answered with a reset.
        if packet.op != op::RST {
            self.metrics.resets += 1;
            self.resets.push_back(Header::reset_for(packet));
        }
    }
}

/// What is watched of a connection's socket. Edge-triggered: data that the guest has no room for doesn't keep the loop busy.
fn interest(connection: &Connection, number: u32, room: bool) -> Events {
    let mut set = EventSet::IN | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
    if room {
        set |= EventSet::OUT;
    }
    Events::with_data_raw(connection.socket.as_raw_fd(), number, set)
}
