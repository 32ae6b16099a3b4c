//! One connection from the host: bytes in, frames out of them, and frames waiting to be sent.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rvm_agent_protocol::Kind;
use rvm_agent_protocol::frame::{self, HEADER_LEN, MAX_CHUNK};

use crate::poll::{Poll, Role, Watched};

/// Unsent bytes at which a process's output is no longer read.
const OUTPUT_LIMIT: usize = 2 * MAX_CHUNK;

/// A connection.
pub struct Connection {
    socket: Watched,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    ended: bool,
    closing: bool,
    /// The process whose stream this connection has become.
    pub stream: Option<u32>,
}

/// What reading has brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Perhaps more frames.
    Data,
    /// The host sends no more.
    End,
}

impl Connection {
    /// Takes a connected socket and watches for input.
    pub fn new(poll: &Poll, socket: OwnedFd, id: u32) -> io::Result<Self> {
        let mut socket = Watched::new(poll, socket, id, Role::Connection);
        socket.want_read(true)?;
        Ok(Self {
            socket,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            ended: false,
            closing: false,
            stream: None,
        })
    }

    /// Reads what is there, without waiting.
    pub fn receive(&mut self) -> io::Result<Received> {
        self.input.reserve(HEADER_LEN + MAX_CHUNK);
        let space = rustix::buffer::spare_capacity(&mut self.input);
        match rustix::net::recv(&self.socket, space, RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.ended = true;
                self.socket.want_read(false)?;
                Ok(Received::End)
            }
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Data),
            Err(e) => Err(e.into()),
        }
    }

    /// Takes the next complete frame out of what was read.
    pub fn next_frame(&mut self) -> Result<Option<(Kind, Vec<u8>)>, frame::Error> {
        let Some(header) = self.input.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let (kind, length) = frame::decode_header(*header)?;
        if kind == Kind::Stdin && length > MAX_CHUNK {
            return Err(frame::Error::TooLong(length));
        }
        if self.input.len() < HEADER_LEN + length {
            return Ok(None);
        }
        let payload = self.input[HEADER_LEN..HEADER_LEN + length].to_vec();
        self.input.drain(..HEADER_LEN + length);
        Ok(Some((kind, payload)))
    }

    /// Stops or goes on reading; what the host sends meanwhile waits in the socket, then in the host.
    pub fn pause(&mut self, pause: bool) -> io::Result<()> {
        self.socket.want_read(!pause && !self.ended)
    }

    /// Appends a frame to what is to be sent.
    pub fn push(&mut self, kind: Kind, payload: &[u8]) -> Result<(), frame::Error> {
        let header = frame::encode_header(kind, payload.len())?;
        self.output.extend_from_slice(&header);
        self.output.extend_from_slice(payload);
        Ok(())
    }

    /// Reads up to a chunk from `source` and appends it as a frame; the number of bytes, 0 at its end.
    pub fn push_from(&mut self, kind: Kind, source: impl AsFd) -> Result<usize, Errno> {
        let start = self.output.len();
        self.output.resize(start + HEADER_LEN, 0);
        self.output.reserve(MAX_CHUNK);
        let space = &mut self.output.spare_capacity_mut()[..MAX_CHUNK];
        let length = match rustix::io::read(source, space) {
            Ok((filled, _)) => filled.len(),
            Err(e) => {
                self.output.truncate(start);
                return Err(e);
            }
        };
        match frame::encode_header(kind, length) {
            Ok(header) if length > 0 => {
                self.output[start..start + HEADER_LEN].copy_from_slice(&header);
                // SAFETY: read has just filled `length` bytes after the current length, within the capacity.
                unsafe { self.output.set_len(start + HEADER_LEN + length) };
            }
            _ => self.output.truncate(start),
        }
        Ok(length)
    }

    /// Whether so much waits to be sent that no more should be added.
    pub fn is_full(&self) -> bool {
        self.output.len() - self.sent >= OUTPUT_LIMIT
    }

    /// Sends what the socket takes.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.output.len() {
            match rustix::net::send(
                &self.socket,
                &self.output[self.sent..],
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(n) => self.sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.output.drain(..self.sent);
                    self.sent = 0;
                    return self.socket.want_write(true);
                }
                Err(e) => return Err(e.into()),
            }
        }
        self.output.clear();
        self.sent = 0;
        self.socket.want_write(false)
    }

    /// Whether nothing waits to be sent.
    pub fn is_sent(&self) -> bool {
        self.output.is_empty()
    }

    /// Whether this connection only waits for its last bytes to be sent.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Close this connection when all is sent.
    pub fn close_when_sent(&mut self) {
        self.closing = true;
    }

    /// Whether it is time to close.
    pub fn is_done(&self) -> bool {
        self.is_sent() && (self.closing || (self.ended && self.stream.is_none()))
    }

    /// Waits until all is sent and the host has closed its end; a few tenths of a second at most.
    pub fn finish(mut self) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        for _ in 0..16 {
            if self.flush().is_err() {
                return;
            }
            let waits = if self.output.is_empty() {
                PollFlags::IN
            } else {
                PollFlags::OUT
            };
            if poll(&mut [PollFd::new(&self.socket, waits)], Some(&patience)) != Ok(1) {
                return;
            }
            self.input.clear();
            if waits == PollFlags::IN && self.receive().is_ok_and(|r| r == Received::Data) {
                continue;
            }
            if self.output.is_empty() {
                return;
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A container that waits for its start holds a copy of every descriptor: closing alone would not reach the host.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }
}
