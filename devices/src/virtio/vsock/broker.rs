//! The socket over which connections are handed to and from the host.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// A connected `SOCK_SEQPACKET` socket; each message is a port and a stream socket.
pub struct Broker(OwnedFd);

/// What was received.
pub enum Message {
    /// A socket to be connected to a port of the guest.
    Connect {
        /// The guest's port.
        port: u32,
        /// The socket.
        socket: OwnedFd,
    },
    /// A message that is not of this kind.
    Malformed,
    /// There is no message now.
    Nothing,
    /// The other end is closed.
    Closed,
}

impl Broker {
    /// Takes over the socket.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Makes a connection to `port` of the host; returns its near end.
    ///
    /// Fails when the other end of the broker is gone, or behind with accepting connections.
    pub fn connect(&self, port: u32) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [far.as_fd()];
        // There is room for exactly this.
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(
            &self.0,
            &[IoSlice::new(&port.to_le_bytes())],
            &mut control,
            flags,
        )?;
        Ok(near)
    }

    /// Takes the next message.
    pub fn receive(&self) -> Message {
        let mut port = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut port)],
            &mut control,
            flags,
        ) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Message::Nothing,
            Err(_) => return Message::Closed,
        };
        let mut sockets = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let socket = sockets.next().and_then(|mut fds| fds.next());
        match (received.bytes, socket) {
            (4, Some(socket)) => Message::Connect {
                port: u32::from_le_bytes(port),
                socket,
            },
            (0, None) => Message::Closed,
            _ => Message::Malformed,
        }
    }
}

impl AsRawFd for Broker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
