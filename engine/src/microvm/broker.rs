//! vsock connections to a guest, handed over by its VMM; see [`rvm_vmm::config::Vsock`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::descriptor;

/// The host's end of the broker's socket.
#[derive(Debug)]
pub struct Broker(OwnedFd);

/// Why a connection could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The VMM has ended.
    #[error("the microVM has ended")]
    Closed,
    /// The socket failed.
    #[error("cannot exchange vsock connections with the VMM")]
    Socket(#[source] io::Error),
    /// The VMM sent something else.
    #[error("the VMM sent a message about vsock that is not understood")]
    Message,
}

impl Broker {
    /// A broker over a connected `SOCK_SEQPACKET` socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Waits for the guest's next connection; the host's port that it is to, and the connection.
    pub fn accept(&self) -> Result<(u32, UnixStream), BrokerError> {
        let mut port = [0; 4];
        let (length, fd) =
            descriptor::receive(&self.0, &mut port).map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionReset => BrokerError::Closed,
                _ => BrokerError::Socket(error),
            })?;
        match (length, fd) {
            (0, _) => Err(BrokerError::Closed),
            (4, Some(fd)) => {
                let stream = UnixStream::from(fd);
                // The VMM makes both ends in one call, and its own must not block.
                stream.set_nonblocking(false).map_err(BrokerError::Socket)?;
                Ok((u32::from_le_bytes(port), stream))
            }
            _ => Err(BrokerError::Message),
        }
    }

    /// Connects to a port of the guest. When nobody listens there the connection is closed at once.
    pub fn connect(&self, port: u32) -> Result<UnixStream, BrokerError> {
        let (ours, theirs) = UnixStream::pair().map_err(BrokerError::Socket)?;
        descriptor::send(&self.0, &port.to_le_bytes(), theirs.as_fd()).map_err(
            |error| match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => BrokerError::Closed,
                _ => BrokerError::Socket(error),
            },
        )?;
        Ok(ours)
    }
}

impl AsFd for Broker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn connections_cross_in_both_directions() {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("pair");
        let (host, guest) = (Broker::new(a), Broker::new(b));
        let mut ours = host.connect(7).expect("connect");
        let (port, mut theirs) = guest.accept().expect("accept");
        assert_eq!(port, 7);
        ours.write_all(b"hello").expect("write");
        drop(ours);
        let mut text = String::new();
        theirs.read_to_string(&mut text).expect("read");
        assert_eq!(text, "hello");
        drop(guest);
        assert!(matches!(host.accept(), Err(BrokerError::Closed)));
        assert!(matches!(host.connect(7), Err(BrokerError::Closed)));
    }
}
