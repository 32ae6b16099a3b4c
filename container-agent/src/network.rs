//! The guest's network: loopback and one Ethernet interface, by ioctls of netdevice(7) and messages of rtnetlink(7).

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rvm_agent_protocol::Network;

use crate::netlink::{self, Messages};

const LOOPBACK: &str = "lo";
const ETHERNET: &str = "eth0";

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
    ethernet: Option<Ethernet>,
}

/// An interface that is up.
struct Ethernet {
    index: u32,
    socket: OwnedFd,
    network: Option<Network>,
}

impl State {
    /// Brings loopback up, and with `ethernet` the other interface, without an address: all that is the same in every guest.
    pub fn bring_up(&mut self, ethernet: bool) -> Result<(), Error> {
        let ethernet = ethernet && self.ethernet.is_none();
        if self.loopback && !ethernet {
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
            set_up(&socket, LOOPBACK)?;
            self.loopback = true;
        }
        if ethernet {
            let parameter = format!("net.ipv6.conf.{ETHERNET}.disable_ipv6");
            // As Docker does where a network has no IPv6. A kernel without it needs no switch.
            let _ = crate::guest::set_parameter(&parameter, "1");
            set_up(&socket, ETHERNET)?;
            self.ethernet = Some(Ethernet {
                index: index(&socket, ETHERNET)?,
                socket: netlink::open().map_err(|e| Error::Step("a socket", "the network", e))?,
                network: None,
            });
        }
        Ok(())
    }

    /// Gives the interface its addresses; what is so already stays as it is.
    pub fn apply(&mut self, wanted: Option<&Network>) -> Result<(), Error> {
        self.bring_up(wanted.is_some())?;
        let (Some(ethernet), Some(wanted)) = (&mut self.ethernet, wanted) else {
            return Ok(());
        };
        if ethernet.network.as_ref() == Some(wanted) {
            return Ok(());
        }
        if wanted.prefix > 32 {
            return Err(Error::Prefix(wanted.prefix));
        }
        let mut messages = Messages::default();
        if let Some(old) = ethernet.network.take() {
            // Takes its routes along.
            messages.remove_address(ethernet.index, &old);
        }
        messages.set_link(ethernet.index, wanted);
        messages.add_address(ethernet.index, wanted);
        messages.add_default_route(ethernet.index, wanted);
        messages
            .send(&ethernet.socket)
            .map_err(|e| Error::Step("the addresses", ETHERNET, e))?;
        ethernet.network = Some(wanted.clone());
        Ok(())
    }
}

fn set_up(socket: &OwnedFd, name: &'static str) -> Result<(), Error> {
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    ioctl(socket, libc::SIOCSIFFLAGS, &mut request).map_err(|e| Error::Step("the state", name, e))
}

fn index(socket: &OwnedFd, name: &'static str) -> Result<u32, Error> {
    let mut request = request(name);
    ioctl(socket, libc::SIOCGIFINDEX, &mut request)
        .map_err(|e| Error::Step("the index", name, e))?;
    // SAFETY: the kernel has written the index.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex } as u32)
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is a name and a union of plain data.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn ioctl(socket: &OwnedFd, call: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: both calls above take an ifreq, which is alive and has a zero-terminated name.
    match unsafe { libc::ioctl(socket.as_raw_fd(), call, &raw mut *request) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
