//! A Unix stream socket, at whose other end another process is the network: passt(1), or whatever QEMU's `-netdev stream` speaks to.
//! Each frame is behind its length, a big-endian `u32`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::tap::HEADER_SIZE;
use super::{MAX_OFFLOADED, MAX_PLAIN, MIN_PACKET};
use crate::virtio::chain::Segments;

const LENGTH_SIZE: usize = 4;

/// How much is received at once: many frames of the usual size, and more than the largest.
const BUFFER_SIZE: usize = 128 << 10;

/// An open socket.
pub(super) struct Stream {
    socket: OwnedFd,
    received: Box<[u8]>,
    /// Where in it there is something that the guest has not got yet.
    start: usize,
    end: usize,
    /// How many bytes to come are of a frame that is too long.
    skipped: usize,
    /// There is nobody at the other end.
    ended: bool,
    /// The rest of a frame of which the socket has taken a part.
    unsent: Vec<u8>,
}

impl Stream {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        // Anything but a socket is found out here.
        rustix::net::sockopt::socket_type(&socket)?;
        Ok(Self {
            socket,
            received: vec![0; BUFFER_SIZE].into(),
            start: 0,
            end: 0,
            skipped: 0,
            ended: false,
            unsent: Vec::new(),
        })
    }

    /// The length of the next packet with its header, once it is here as a whole.
    pub(super) fn next_length(&mut self) -> io::Result<Option<usize>> {
        loop {
            let here = &self.received[self.start..self.end];
            if let Some((length, rest)) = here.split_first_chunk::<LENGTH_SIZE>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > MAX_OFFLOADED - HEADER_SIZE {
                    // What of it is here, and the rest as it comes.
                    let here = length.min(rest.len());
                    self.skipped = length - here;
                    self.start += LENGTH_SIZE + here;
                    continue;
                }
                if rest.len() >= length {
                    return Ok(Some(HEADER_SIZE + length));
                }
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Takes the next packet, behind a header that says nothing; `None` when there is none. It is lost where it has no room.
    pub(super) fn read(&mut self, buffer: &Segments) -> io::Result<Option<usize>> {
        let Some(length) = self.next_length()? else {
            return Ok(None);
        };
        let from = self.start + LENGTH_SIZE;
        self.start = from + length - HEADER_SIZE;
        if length > buffer.len() {
            return Ok(Some(0));
        }
        buffer.write_at(0, &[0; HEADER_SIZE]);
        buffer.write_at(HEADER_SIZE, &self.received[from..self.start]);
        Ok(Some(length))
    }

    /// Receives more; whether there was something.
    fn fill(&mut self) -> io::Result<bool> {
        self.received.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let room = &mut self.received[self.end..];
        let (_, length) = match recv(&self.socket, room, RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            result => result?,
        };
        if length == 0 && !self.ended {
            self.ended = true;
            tracing::warn!("the process that is the guest's network has ended");
        }
        let skipped = self.skipped.min(length);
        self.skipped -= skipped;
        self.end += length;
        self.start += skipped;
        Ok(length > 0)
    }

    /// Sends one packet without its header; `WouldBlock` when there is no room for it.
    pub(super) fn write(&mut self, packet: &Segments) -> io::Result<usize> {
        self.flush()?;
        let mut bytes = [0; MAX_PLAIN];
        if !(MIN_PACKET..=bytes.len()).contains(&packet.len()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let length = packet.read(&mut bytes);
        let frame = &bytes[HEADER_SIZE..length];
        if is_for_loopback(frame) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let size = (frame.len() as u32).to_be_bytes();
        bytes[HEADER_SIZE - LENGTH_SIZE..HEADER_SIZE].copy_from_slice(&size);
        let bytes = &bytes[HEADER_SIZE - LENGTH_SIZE..length];
        let sent = send(
            &self.socket,
            bytes,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        )?;
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(length)
    }

    /// Sends what is left of a frame, without which no other one may be sent.
    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let sent = send(&self.socket, &self.unsent, flags)?;
            self.unsent.drain(..sent);
        }
        Ok(())
    }
}

/// Whether it is to an address that means the host itself to a process there, which makes connections for the guest: no
/// network has a way there.
fn is_for_loopback(frame: &[u8]) -> bool {
    const ETHERTYPE: std::ops::Range<usize> = 12..14;
    const IPV4: [u8; 2] = [0x08, 0x00];
    const DESTINATION: usize = 14 + 16;
    frame[ETHERTYPE] == IPV4 && matches!(frame.get(DESTINATION), Some(0 | 127))
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
