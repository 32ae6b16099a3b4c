//! Connections that outlive their device: saved with it, and given to the host anew by the device that is restored.

use std::num::Wrapping;

use event_manager::EventOps;
use serde::{Deserialize, Serialize};

use super::connection::{Connection, Ports};
use super::muxer::Muxer;
use super::packet::{HOST_CID, Header, TYPE_STREAM, op};
use super::socket::Socket;

/// A saved [`Vsock`](super::Vsock).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockState {
    /// The guest's context id. A restored device keeps the one that it was made with; when it is another, all connections are gone.
    pub cid: u32,
    /// The connections that a restored device goes on with: it gives the host a new socket of each, as if the guest had just connected.
    pub kept: Vec<ConnectionState>,
    /// The host's and the guest's ports of the connections that are gone, of which a restored device tells the guest.
    pub gone: Vec<(u32, u32)>,
}

/// A connection with nothing under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionState {
    host_port: u32,
    guest_port: u32,
    sent: u32,
    guest_taken: u32,
    guest_buffer: u32,
    received: u32,
    announced: u32,
}

impl Connection {
    /// The connection's state, if the guest has opened it (`by_guest`), both sides can send, and nothing waits for either.
    fn save(&self, by_guest: bool) -> Option<ConnectionState> {
        (by_guest && self.is_at_rest()).then_some(ConnectionState {
            host_port: self.ports.host,
            guest_port: self.ports.guest,
            sent: self.sent.0,
            guest_taken: self.guest_taken.0,
            guest_buffer: self.guest_buffer,
            received: self.received.0,
            announced: self.announced.0,
        })
    }

    fn restored(state: &ConnectionState, socket: Socket) -> Self {
        let ports = Ports {
            host: state.host_port,
            guest: state.guest_port,
        };
        let mut connection = Self::open(ports, socket);
        connection.sent = Wrapping(state.sent);
        connection.guest_taken = Wrapping(state.guest_taken);
        connection.guest_buffer = state.guest_buffer;
        connection.received = Wrapping(state.received);
        connection.taken = connection.received;
        connection.announced = Wrapping(state.announced);
        connection
    }
}

impl Muxer {
    /// The state of all connections.
    pub fn save(&self, cid: u32) -> VsockState {
        let mut state = VsockState {
            cid,
            kept: Vec::new(),
            gone: Vec::new(),
        };
        for connection in self.connections.values().filter(|c| !c.draining) {
            // Ports from the first host port on are of connections that the host has asked for.
            match connection.save(connection.ports.host < super::muxer::FIRST_HOST_PORT) {
                Some(kept) => state.kept.push(kept),
                None => state
                    .gone
                    .push((connection.ports.host, connection.ports.guest)),
            }
        }
        state
    }

    /// Goes on with saved connections; those that the host does not take are gone.
    pub fn restore(&mut self, state: VsockState, ops: &mut EventOps) {
        let mut gone = state.gone;
        for connection in &state.kept {
            let socket = self
                .broker
                .as_ref()
                .and_then(|broker| broker.connect(connection.host_port).ok());
            let kept = socket.is_some_and(|socket| {
                self.insert(Connection::restored(connection, Socket::new(socket)), ops)
            });
            if !kept {
                gone.push((connection.host_port, connection.guest_port));
            }
        }
        for (host, guest) in gone {
            self.metrics.resets += 1;
            self.resets.push_back(Header {
                src_cid: HOST_CID,
                dst_cid: self.guest_cid,
                src_port: host,
                dst_port: guest,
                len: 0,
                socket_type: TYPE_STREAM,
                op: op::RST,
                flags: 0,
                buf_alloc: 0,
                fwd_cnt: 0,
            });
        }
    }
}
