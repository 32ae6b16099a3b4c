//! One connection between a port of the guest and a socket of the host: its states and its flow control.

use std::collections::VecDeque;
use std::num::Wrapping;

use vm_memory::VolatileSlice;

use super::packet::{HOST_CID, Header, MAX_DATA, TYPE_STREAM, op, shutdown};
use super::socket::Socket;

/// How much data of the guest is held for a host that is slow to read, in bytes.
pub const BUF_ALLOC: u32 = 128 << 10;

/// The two ports of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Ports {
    pub host: u32,
    pub guest: u32,
}

/// The guest broke the rules, or the connection is gone: it gets a reset.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

/// What the connection has for the guest.
#[derive(Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What the packet is for.
    pub op: u16,
    /// Flags of a shutdown.
    pub flags: u32,
    /// How much data it has.
    pub len: u32,
}

/// A connection.
pub struct Connection {
    /// Its ports.
    pub ports: Ports,
    /// The host's end.
    pub socket: Socket,
    /// Whether it waits in the list of those with something for the guest.
    pub queued: bool,
    /// Whether the event loop looks for room in the socket, too.
    pub watches_room: bool,
    /// Whether the guest knows nothing of it any more, and it only lives until the host has read everything.
    pub draining: bool,
    /// The host asked for the connection and the guest has not answered yet.
    requested: bool,
    /// A request or a response that is still to be sent.
    handshake: Option<u16>,

    /// There may be something to read from the socket.
    readable: bool,
    /// The host has closed its end, not only for sending.
    hung_up: bool,
    /// How much was sent to the guest, how much of that it has taken, and how much it can hold.
    pub(super) sent: Wrapping<u32>,
    pub(super) guest_taken: Wrapping<u32>,
    pub(super) guest_buffer: u32,

    /// Data of the guest that the socket had no room for.
    backlog: VecDeque<u8>,
    /// How much came from the guest, how much of that the host has taken, and how much of that the guest knows of.
    pub(super) received: Wrapping<u32>,
    pub(super) taken: Wrapping<u32>,
    pub(super) announced: Wrapping<u32>,
    /// The guest asked how much we can hold.
    credit_asked: bool,

    /// What the guest won't do any more.
    guest_shutdown: u32,
    /// What the host won't do any more, and what of that the guest was told.
    host_shutdown: u32,
    told_shutdown: u32,
}

impl Connection {
    /// A connection that the host asks for.
    pub fn from_host(ports: Ports, socket: Socket) -> Self {
        Self::new(ports, socket, op::REQUEST)
    }

    /// A connection that the guest has asked for with `request`.
    pub fn from_guest(ports: Ports, socket: Socket, request: &Header) -> Self {
        let mut connection = Self::new(ports, socket, op::RESPONSE);
        connection.requested = false;
        connection.update_credit(request);
        connection
    }

    /// A connection whose handshake is done.
    pub fn open(ports: Ports, socket: Socket) -> Self {
        let mut connection = Self::new(ports, socket, op::RESPONSE);
        connection.requested = false;
        connection.handshake = None;
        // Something may have been written to the socket before it is watched.
        connection.readable = true;
        connection
    }

    fn new(ports: Ports, socket: Socket, handshake: u16) -> Self {
        Self {
            ports,
            socket,
            queued: false,
            watches_room: false,
            draining: false,
            requested: true,
            handshake: Some(handshake),
            readable: false,
            hung_up: false,
            sent: Wrapping(0),
            guest_taken: Wrapping(0),
            guest_buffer: 0,
            backlog: VecDeque::new(),
            received: Wrapping(0),
            taken: Wrapping(0),
            announced: Wrapping(0),
            credit_asked: false,
            guest_shutdown: 0,
            host_shutdown: 0,
            told_shutdown: 0,
        }
    }

    /// A packet of the guest that belongs to this connection, except for resets.
    pub fn receive(&mut self, header: &Header, data: Option<&VolatileSlice>) -> Result<(), Broken> {
        self.update_credit(header);
        match (header.op, self.requested) {
            (op::RESPONSE, true) => {
                self.requested = false;
                self.readable = true;
            }
            (op::RW, false) => data.map_or(Ok(()), |data| self.forward(data))?,
            (op::CREDIT_UPDATE, false) => {}
            (op::CREDIT_REQUEST, false) => self.credit_asked = true,
            (op::SHUTDOWN, false) => self.shut_down(header.flags & shutdown::BOTH),
            _ => return Err(Broken),
        }
        Ok(())
    }

    /// Whether the guest has shut down both directions, and so waits for a reset.
    pub fn is_closed_by_guest(&self) -> bool {
        self.guest_shutdown == shutdown::BOTH
    }

    /// Whether both sides can send, and nothing is under way in either direction that this side knows of.
    pub fn is_at_rest(&self) -> bool {
        let open = self.guest_shutdown | self.host_shutdown == 0 && !self.hung_up;
        open && !self.requested && self.handshake.is_none() && !self.has_backlog()
    }

    /// How much of the guest's data the socket had no room for, in bytes.
    pub fn backlog(&self) -> u64 {
        self.backlog.len() as u64
    }

    /// Whether the socket has no room for all the guest has sent.
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// The socket can be read, or the host has closed it, altogether if `hung_up`.
    pub fn socket_readable(&mut self, hung_up: bool) {
        self.readable = true;
        self.hung_up |= hung_up;
        // Without this, nobody would look when the guest doesn't receive or the end was read before.
        let unread = self.host_shutdown & shutdown::SEND == 0
            && self.guest_shutdown & shutdown::RECEIVE == 0;
        if self.hung_up && !unread {
            self.host_shutdown = shutdown::BOTH;
        }
    }

    /// The socket has room: sends what waits for that.
    pub fn socket_writable(&mut self) {
        while let (waiting @ [_, ..], _) = self.backlog.as_slices() {
            match self.socket.send(waiting) {
                Ok(0) => return,
                Ok(sent) => {
                    self.backlog.drain(..sent);
                    self.taken += sent as u32;
                }
                Err(_) => return self.host_stopped_reading(),
            }
        }
        // The memory is for connections that need it.
        self.backlog = VecDeque::new();
        if self.guest_shutdown & shutdown::SEND != 0 {
            self.socket.end_sending();
        }
    }

    /// Whether [`produce`](Self::produce) may have something.
    pub fn wants_to_send(&self) -> bool {
        if self.draining {
            return false;
        }
        self.handshake.is_some()
            || !self.requested
                && (self.can_read()
                    || self.owes_credit()
                    || self.host_shutdown != self.told_shutdown)
    }

    /// The next packet for the guest; its data is put into `buffer`.
    pub fn produce(&mut self, buffer: &VolatileSlice) -> Option<Outgoing> {
        let packet = |op| Outgoing {
            op,
            flags: 0,
            len: 0,
        };
        if self.draining {
            return None;
        }
        if let Some(op) = self.handshake.take() {
            // What was written before is read now.
            self.readable |= op == op::RESPONSE;
            return Some(packet(op));
        }
        if self.requested {
            return None;
        }
        if self.can_read() {
            let room = buffer.len().min(self.credit() as usize).min(MAX_DATA);
            let received = buffer
                .subslice(0, room)
                .ok()
                .map(|buffer| self.socket.receive_guest(&buffer));
            match received? {
                Ok(Some(0)) | Err(_) => {
                    self.readable = false;
                    self.host_shutdown |= match self.hung_up {
                        true => shutdown::BOTH,
                        false => shutdown::SEND,
                    };
                }
                Ok(Some(len)) => {
                    // At most MAX_DATA.
                    let len = len as u32;
                    self.sent += len;
                    return Some(Outgoing {
                        len,
                        ..packet(op::RW)
                    });
                }
                Ok(None) => self.readable = false,
            }
        }
        if self.host_shutdown != self.told_shutdown {
            self.told_shutdown = self.host_shutdown;
            return Some(Outgoing {
                flags: self.host_shutdown,
                ..packet(op::SHUTDOWN)
            });
        }
        self.owes_credit().then(|| packet(op::CREDIT_UPDATE))
    }

    /// The header of a packet for the guest. Each one says how much we have taken.
    pub fn header(&mut self, guest_cid: u64, packet: &Outgoing) -> Header {
        self.announced = self.taken;
        self.credit_asked = false;
        Header {
            src_cid: HOST_CID,
            dst_cid: guest_cid,
            src_port: self.ports.host,
            dst_port: self.ports.guest,
            len: packet.len,
            socket_type: TYPE_STREAM,
            op: packet.op,
            flags: packet.flags,
            buf_alloc: BUF_ALLOC,
            fwd_cnt: self.taken.0,
        }
    }

    fn can_read(&self) -> bool {
        self.readable
            && self.credit() > 0
            && self.host_shutdown & shutdown::SEND == 0
            && self.guest_shutdown & shutdown::RECEIVE == 0
    }

    /// How much the guest has room for.
    fn credit(&self) -> u32 {
        let under_way = self.sent - self.guest_taken;
        self.guest_buffer.saturating_sub(under_way.0)
    }

    fn update_credit(&mut self, header: &Header) {
        self.guest_buffer = header.buf_alloc;
        self.guest_taken = Wrapping(header.fwd_cnt);
    }

    /// Whether it is time to tell the guest that there is room again: a packet costs it more than the wait, so not before half
    /// of what it may send is used up, and then not for little.
    fn owes_credit(&self) -> bool {
        let used = (self.received - self.announced).0;
        let freed = (self.taken - self.announced).0;
        let worthwhile = freed >= BUF_ALLOC / 4 || freed > 0 && self.backlog.is_empty();
        self.credit_asked || used >= BUF_ALLOC / 2 && worthwhile
    }

    fn forward(&mut self, data: &VolatileSlice) -> Result<(), Broken> {
        let room = BUF_ALLOC.saturating_sub((self.received - self.taken).0) as usize;
        if data.len() > room || self.guest_shutdown & shutdown::SEND != 0 {
            return Err(Broken);
        }
        // At most MAX_DATA.
        self.received += data.len() as u32;
        if self.host_shutdown & shutdown::RECEIVE != 0 {
            self.taken = self.received;
            return Ok(());
        }
        let sent = match self.has_backlog() {
            true => 0,
            false => match self.socket.send_guest(data) {
                Ok(sent) => sent,
                Err(_) => {
                    self.host_stopped_reading();
                    return Ok(());
                }
            },
        };
        self.taken += sent as u32;
        let Ok(rest) = data.offset(sent) else {
            return Err(Broken);
        };
        if !rest.is_empty() {
            let mut copy = vec![0; rest.len()];
            rest.copy_to(&mut copy);
            self.backlog.extend(copy);
        }
        Ok(())
    }

    fn shut_down(&mut self, flags: u32) {
        let added = flags & !self.guest_shutdown;
        self.guest_shutdown |= flags;
        if added & shutdown::RECEIVE != 0 {
            self.socket.end_receiving();
        }
        if added & shutdown::SEND != 0 && !self.has_backlog() {
            self.socket.end_sending();
        }
    }

    /// What the guest has sent and will send goes nowhere.
    fn host_stopped_reading(&mut self) {
        self.backlog = VecDeque::new();
        self.taken = self.received;
        self.host_shutdown |= shutdown::RECEIVE;
    }
}
