//! The guest's network: loopback and one Ethernet interface, through the ioctls of netdevice(7).

use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rvm_agent_protocol::Network;

/// Why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The prefix is longer than an address.
    #[error("network: the prefix length {0} is more than 32")]
    Prefix(u8),
    /// One of the steps failed.
    #[error("network: {0} of {1} could not be set")]
    Step(&'static str, &'static str, #[source] io::Error),
}

/// What the network has been set to.
#[derive(Default)]
pub struct State {
    loopback: bool,
    network: Option<Network>,
}

impl State {
    /// Sets the network up as `wanted`; what is so already stays as it is.
    pub fn apply(&mut self, wanted: Option<&Network>) -> Result<(), Error> {
        if self.loopback && self.network.as_ref() == wanted {
            return Ok(());
        }
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|e| Error::Step("a socket", "the network", e.into()))?;
        if !self.loopback {
            // The kernel gives loopback its address when it comes up.
            Interface {
                socket: &socket,
                name: "lo",
            }
            .set_up(true)?;
            self.loopback = true;
        }
        let ethernet = Interface {
            socket: &socket,
            name: "eth0",
        };
        if self.network.take().is_some() {
            // Takes the old routes along.
            ethernet.set_up(false)?;
        }
        if let Some(network) = wanted {
            ethernet.configure(network)?;
        }
        self.network = wanted.cloned();
        Ok(())
    }
}

struct Interface<'a> {
    socket: &'a OwnedFd,
    name: &'static str,
}

impl Interface<'_> {
    fn configure(&self, network: &Network) -> Result<(), Error> {
        let mask = match network.prefix {
            0 => 0,
            prefix @ 1..=32 => u32::MAX << (32 - prefix),
            prefix => return Err(Error::Prefix(prefix)),
        };
        self.request("the packet size", libc::SIOCSIFMTU, |r| {
            r.ifr_ifru.ifru_mtu = network.mtu as i32
        })?;
        self.request("the address", libc::SIOCSIFADDR, |r| {
            r.ifr_ifru.ifru_addr = socket_address(network.address)
        })?;
        self.request("the mask", libc::SIOCSIFNETMASK, |r| {
            r.ifr_ifru.ifru_netmask = socket_address(mask.into())
        })?;
        self.set_up(true)?;
        // SAFETY: rtentry is plain integers, addresses and a pointer that may be null.
        let mut route: libc::rtentry = unsafe { mem::zeroed() };
        route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_gateway = socket_address(network.gateway);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        self.ioctl("the default route", libc::SIOCADDRT, &mut route)
    }

    fn set_up(&self, up: bool) -> Result<(), Error> {
        let flags = if up { libc::IFF_UP as i16 } else { 0 };
        self.request("the state", libc::SIOCSIFFLAGS, |r| {
            r.ifr_ifru.ifru_flags = flags
        })
    }

    fn request(
        &self,
        what: &'static str,
        call: libc::c_ulong,
        fill: impl FnOnce(&mut libc::ifreq),
    ) -> Result<(), Error> {
        // SAFETY: ifreq is a name and a union of plain data.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        fill(&mut request);
        self.ioctl(what, call, &mut request)
    }

    fn ioctl<T>(
        &self,
        what: &'static str,
        call: libc::c_ulong,
        argument: &mut T,
    ) -> Result<(), Error> {
        // SAFETY: every call above passes the structure that its request takes, alive and zero-terminated.
        if unsafe { libc::ioctl(self.socket.as_raw_fd(), call, &raw mut *argument) } < 0 {
            return Err(Error::Step(what, self.name, io::Error::last_os_error()));
        }
        Ok(())
    }
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    // A sockaddr_in behind its family: the port, the address, padding.
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    }
}
