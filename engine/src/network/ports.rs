//! Sockets that reserve published ports, so that the host's own programs and other containers keep off them.

use std::io;
use std::net::{SocketAddrV4, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::options::port::{Protocol, Publish};

/// How long a port may be taken by a passt that is about to end, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(20);

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
    /// A port for root alone.
    #[error(
        "cannot publish on {0}: ports below net.ipv4.ip_unprivileged_port_start are root's: choose another host port, or run rvm as root"
    )]
    Forbidden(SocketAddrV4),
    /// passt knows a port of a protocol once.
    #[error(
        "port {0} is published twice, which needs root: publish it once, without an address where it is to be on all of them"
    )]
    Twice(u16),
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
                io::ErrorKind::PermissionDenied => PortError::Forbidden(address),
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

/// Finds ports free that passt can publish, and fills in host ports that were left open. They are not reserved: passt takes them itself.
/// One that a passt has whose container has just been killed is waited for.
pub fn choose(publish: &[Publish]) -> Result<Vec<Publish>, PortError> {
    for (at, one) in publish.iter().enumerate() {
        for other in &publish[..at] {
            let same_host = one.host_port != 0 && one.host_port == other.host_port;
            let answers =
                one.protocol == Protocol::Udp && one.container_port == other.container_port;
            if one.protocol == other.protocol && (same_host || answers) {
                return Err(PortError::Twice(match same_host {
                    true => one.host_port,
                    false => one.container_port,
                }));
            }
        }
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        match reserve(publish) {
            Err(PortError::Taken(_)) if Instant::now() < deadline => thread::sleep(INTERVAL),
            result => return result.map(|(_, ports)| ports),
        }
    }
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

    #[test]
    fn without_root_a_port_is_published_once() {
        let port = |host_port, container_port, protocol| Publish {
            host_address: Ipv4Addr::LOCALHOST,
            host_port,
            container_port,
            protocol,
        };
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        assert!(choose(&[port(0, 80, tcp), port(0, 80, tcp), port(0, 80, udp)]).is_ok());
        for twice in [
            [port(4000, 80, tcp), port(4000, 81, tcp)],
            [port(0, 53, udp), port(0, 53, udp)],
        ] {
            assert!(matches!(choose(&twice), Err(PortError::Twice(_))));
        }
    }
}
