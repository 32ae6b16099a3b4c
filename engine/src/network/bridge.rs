//! The bridge between the containers' taps.

use std::io;
use std::os::fd::AsFd;

use super::interface::{self, Request};
use super::{NetworkError, sysctl};
use crate::state::Subnet;

/// Makes the bridge with its address where it is missing, and lets the host forward packets; whether it was missing.
pub fn ensure(name: &str, subnet: Subnet) -> Result<bool, NetworkError> {
    let error = |source| NetworkError::Bridge {
        name: name.to_owned(),
        source,
    };
    let socket = interface::socket().map_err(error)?;
    let socket = socket.as_fd();
    let missing = match interface::bridge_request(socket, interface::SIOCBRADDBR, name) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
        result => result.map(|()| true).map_err(error)?,
    };
    sysctl::disable_ipv6(name)?;
    // Snooping would have the bridge ask all guests about multicast groups every two minutes.
    let snooping = format!("/sys/class/net/{name}/bridge/multicast_snooping");
    if let Err(error) = std::fs::write(snooping, "0") {
        tracing::debug!(%error, "multicast snooping stays on");
    }
    let configure = || -> io::Result<()> {
        Request::about(name)?
            .address(subnet.gateway())
            .send(socket, libc::SIOCSIFADDR as libc::c_ulong)?;
        Request::about(name)?
            .address(subnet.mask())
            .send(socket, libc::SIOCSIFNETMASK as libc::c_ulong)?;
        interface::set_up(socket, name, true)
    };
    configure().map_err(error)?;
    // Packets from the host's loopback to a published port go out on the bridge; the rules keep the other direction shut.
    sysctl::set(&format!("ipv4/conf/{name}/route_localnet"), "1")?;
    sysctl::set("ipv4/ip_forward", "1")?;
    Ok(missing)
}

/// Removes the bridge, if it is there.
pub fn remove(name: &str) -> Result<(), NetworkError> {
    let error = |source| NetworkError::Bridge {
        name: name.to_owned(),
        source,
    };
    let socket = interface::socket().map_err(error)?;
    if interface::index(socket.as_fd(), name)
        .map_err(error)?
        .is_none()
    {
        return Ok(());
    }
    interface::set_up(socket.as_fd(), name, false).map_err(error)?;
    interface::bridge_request(socket.as_fd(), interface::SIOCBRDELBR, name).map_err(error)
}
