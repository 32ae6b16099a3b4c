//! A microVM's tap. It is not persistent: it goes when the last descriptor of it is closed, however that comes about.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::interface::{self, NAME_LIMIT, Request};
use super::{NetworkError, sysctl};
use crate::id::ContainerId;

/// `TUNSETIFF` of `linux/if_tun.h`.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

/// The name of a container's tap.
pub fn name(id: &ContainerId) -> String {
    let mut name = format!("rvm{}", id.short());
    name.truncate(NAME_LIMIT);
    name
}

/// A tap.
#[derive(Clone, Debug)]
pub struct Tap {
    name: String,
    device: Arc<OwnedFd>,
}

impl Tap {
    /// Makes one that is a port of the bridge, and lets nothing through yet.
    pub(super) fn make(name: &str, bridge: &str) -> Result<Self, NetworkError> {
        let device = open(name, bridge).map_err(|source| NetworkError::Tap {
            name: name.to_owned(),
            source,
        })?;
        sysctl::disable_ipv6(name)?;
        Ok(Self {
            name: name.to_owned(),
            device: Arc::new(device),
        })
    }

    /// A descriptor of it.
    pub fn device(&self) -> io::Result<OwnedFd> {
        self.device.try_clone()
    }

    /// Lets packets through.
    pub fn set_up(&self) -> Result<(), NetworkError> {
        let up = || interface::set_up(interface::socket()?.as_fd(), &self.name, true);
        up().map_err(|source| NetworkError::Tap {
            name: self.name.clone(),
            source,
        })
    }
}

fn open(name: &str, bridge: &str) -> io::Result<OwnedFd> {
    let tap = rustix::fs::open(
        "/dev/net/tun",
        OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    Request::about(name)?
        .flags(flags)
        .send(tap.as_fd(), TUNSETIFF)?;
    let socket = interface::socket()?;
    let index = interface::index(socket.as_fd(), name)?.ok_or(io::ErrorKind::NotFound)?;
    Request::about(bridge)?
        .index(index)
        .send(socket.as_fd(), interface::SIOCBRADDIF)?;
    Ok(tap)
}
