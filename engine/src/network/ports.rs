//! Sockets that reserve published ports, so that the host's own programs and other containers keep off them.

use std::io;
use std::net::{SocketAddrV4, TcpListener, UdpSocket};

use crate::options::port::{Protocol, Publish};

/// A reserved port. Packets never get to the socket, because they are translated before.
#[derive(Debug)]
pub enum Reservation {
    /// Of TCP.
    Tcp(TcpListener),
    /// Of UDP.
    Udp(UdpSocket),
}

/// Why a port can't be published.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Someone has it.
    #[error(
        "Bind for {0} failed: port is already allocated: choose another host port, or stop what listens there"
    )]
    Taken(SocketAddrV4),
    /// The address is not the host's.
    #[error("cannot publish on {0}: the host has no such address")]
    NoSuchAddress(SocketAddrV4),
    /// Anything else.
    #[error("cannot reserve the host's port {address}")]
    Bind {
        /// Address and port.
        address: SocketAddrV4,
        /// Why.
        source: io::Error,
    },
}

/// Reserves all ports, or none; host ports that were left open are filled in.
pub fn reserve(publish: &[Publish]) -> Result<(Vec<Reservation>, Vec<Publish>), PortError> {
    let mut reservations = Vec::with_capacity(publish.len());
    let mut ports = Vec::with_capacity(publish.len());
    for wanted in publish {
        let address = SocketAddrV4::new(wanted.host_address, wanted.host_port);
        let (reservation, bound) =
            bind(wanted.protocol, address).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => PortError::Taken(address),
                io::ErrorKind::AddrNotAvailable => PortError::NoSuchAddress(address),
                _ => PortError::Bind { address, source },
            })?;
        reservations.push(reservation);
        ports.push(Publish {
            host_port: bound,
            ..*wanted
        });
    }
    Ok((reservations, ports))
}

fn bind(protocol: Protocol, address: SocketAddrV4) -> io::Result<(Reservation, u16)> {
    Ok(match protocol {
        Protocol::Tcp => {
            let socket = TcpListener::bind(address)?;
            let port = socket.local_addr()?.port();
            (Reservation::Tcp(socket), port)
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(address)?;
            let port = socket.local_addr()?.port();
            (Reservation::Udp(socket), port)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_port_is_reserved_once() {
        let wanted = Publish {
            host_address: Ipv4Addr::LOCALHOST,
            host_port: 0,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        let (held, ports) = reserve(&[wanted]).expect("a free port");
        assert_ne!(ports[0].host_port, 0);
        assert!(matches!(reserve(&ports), Err(PortError::Taken(_))));
        drop(held);
        assert!(reserve(&ports).is_ok());
    }
}
