//! A sandbox's pair of interfaces (veth(4)): one is a port of the bridge, the other one the sandbox's `eth0`. Both go with the sandbox's
//! network namespace, but not before the kernel finds time for that.

use std::io;
use std::os::fd::AsFd;

use super::interface;
use super::netlink::{ask, attribute, terminated};
use super::{MTU, NetworkError, sysctl};

/// `struct ifinfomsg`.
const INTERFACE: usize = 16;
/// `VETH_INFO_PEER` of `linux/veth.h`.
const PEER: u16 = 1;
/// What the sandbox calls its own.
const INSIDE: &str = "eth0";

/// Makes the pair, whose other end is in the network namespace of the process `pid`.
pub fn make(name: &str, bridge: &str, pid: u32) -> Result<(), NetworkError> {
    let failed = |source| NetworkError::Pair {
        name: name.to_owned(),
        source,
    };
    let socket = interface::socket().map_err(failed)?;
    let bridge = interface::index(socket.as_fd(), bridge)
        .and_then(|index| index.ok_or(io::ErrorKind::NotFound.into()))
        .map_err(failed)?;
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    ask(
        None,
        libc::RTM_NEWLINK,
        flags,
        &pair(name, bridge as u32, pid),
    )
    .map_err(failed)?;
    sysctl::disable_ipv6(name)?;
    interface::set_up(socket.as_fd(), name, true).map_err(failed)
}

/// Removes the pair, if it is there. A tap of that name stays, which can't be removed so.
pub fn remove(name: &str) -> Result<(), NetworkError> {
    let mut body = vec![0; INTERFACE];
    attribute(&mut body, libc::IFLA_IFNAME, &terminated(name));
    match ask(None, libc::RTM_DELLINK, 0, &body) {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EOPNOTSUPP)) => {
            Err(NetworkError::Pair {
                name: name.to_owned(),
                source: error,
            })
        }
        _ => Ok(()),
    }
}

/// What is said of a new pair.
fn pair(name: &str, bridge: u32, pid: u32) -> Vec<u8> {
    let mut inside = vec![0; INTERFACE];
    attribute(&mut inside, libc::IFLA_IFNAME, &terminated(INSIDE));
    attribute(&mut inside, libc::IFLA_MTU, &MTU.to_ne_bytes());
    attribute(&mut inside, libc::IFLA_NET_NS_PID, &pid.to_ne_bytes());
    let mut data = Vec::new();
    attribute(&mut data, PEER, &inside);
    let mut kind = Vec::new();
    attribute(&mut kind, libc::IFLA_INFO_KIND, b"veth");
    attribute(&mut kind, libc::IFLA_INFO_DATA, &data);
    let mut body = vec![0; INTERFACE];
    attribute(&mut body, libc::IFLA_IFNAME, &terminated(name));
    attribute(&mut body, libc::IFLA_MTU, &MTU.to_ne_bytes());
    attribute(&mut body, libc::IFLA_MASTER, &bridge.to_ne_bytes());
    attribute(&mut body, libc::IFLA_LINKINFO, &kind);
    body
}
