//! Messages of rtnetlink(7), as many as are needed in one system call.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rvm_agent_protocol::Network;

/// struct nlmsghdr.
const HEADER: usize = 16;
/// The kernel's answer to a message: its header, an error number, and the header of the message.
const ANSWER: usize = 2 * HEADER + 4;

/// Messages to be sent.
#[derive(Default)]
pub struct Messages {
    bytes: Vec<u8>,
    count: usize,
}

/// A socket to send them on.
pub fn open() -> io::Result<OwnedFd> {
    // SAFETY: socket takes no pointers.
    let socket = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        )
    };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

impl Messages {
    /// Sets an interface's MAC address and largest packet.
    pub fn set_link(&mut self, index: u32, network: &Network) {
        // struct ifinfomsg.
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        attribute(&mut body, libc::IFLA_ADDRESS, &network.mac);
        attribute(&mut body, libc::IFLA_MTU, &network.mtu.to_ne_bytes());
        self.add(libc::RTM_NEWLINK, 0, &body);
    }

    /// Gives an interface an address, and with it the route to its network.
    pub fn add_address(&mut self, index: u32, network: &Network) {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.add(libc::RTM_NEWADDR, flags, &address(index, network));
    }

    /// Takes an address from an interface, and what routes it has brought.
    pub fn remove_address(&mut self, index: u32, network: &Network) {
        self.add(libc::RTM_DELADDR, 0, &address(index, network));
    }

    /// Sends everything else to the gateway.
    pub fn add_default_route(&mut self, index: u32, network: &Network) {
        // struct rtmsg.
        let mut body = vec![0; 12];
        body[0] = libc::AF_INET as u8;
        body[4] = libc::RT_TABLE_MAIN;
        body[5] = libc::RTPROT_BOOT;
        body[6] = libc::RT_SCOPE_UNIVERSE;
        body[7] = libc::RTN_UNICAST;
        attribute(&mut body, libc::RTA_GATEWAY, &network.gateway.octets());
        attribute(&mut body, libc::RTA_OIF, &index.to_ne_bytes());
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.add(libc::RTM_NEWROUTE, flags, &body);
    }

    fn add(&mut self, kind: u16, flags: i32, body: &[u8]) {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let length = (HEADER + body.len()) as u32;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        // The sequence and the port, which only those need who ask several things at once.
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(body);
        self.count += 1;
    }

    /// Sends them all; the first error that the kernel answers with.
    pub fn send(self, socket: &OwnedFd) -> io::Result<()> {
        // SAFETY: the bytes are alive, and their length is theirs. The kernel works through them before the call returns.
        let sent = unsafe {
            libc::send(
                socket.as_raw_fd(),
                self.bytes.as_ptr().cast(),
                self.bytes.len(),
                0,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        for _ in 0..self.count {
            let mut answer = [0; ANSWER];
            let length = rustix::io::read(socket, &mut answer)?;
            let code = answer
                .get(HEADER..HEADER + 4)
                .filter(|_| length >= HEADER + 4);
            let code = code.and_then(|code| code.try_into().ok());
            match code.map_or(-libc::EPROTO, i32::from_ne_bytes) {
                0 => {}
                code => return Err(io::Error::from_raw_os_error(-code)),
            }
        }
        Ok(())
    }
}

/// struct ifaddrmsg and its attributes.
fn address(index: u32, network: &Network) -> Vec<u8> {
    let mut body = vec![
        libc::AF_INET as u8,
        network.prefix,
        0,
        libc::RT_SCOPE_UNIVERSE,
    ];
    body.extend_from_slice(&index.to_ne_bytes());
    let mask = u32::MAX.checked_shr(network.prefix.into()).unwrap_or(0);
    let broadcast = Ipv4Addr::from(u32::from(network.address) | mask);
    let octets = network.address.octets();
    attribute(&mut body, libc::IFA_LOCAL, &octets);
    attribute(&mut body, libc::IFA_ADDRESS, &octets);
    attribute(&mut body, libc::IFA_BROADCAST, &broadcast.octets());
    body
}

/// Adds struct rtattr and its content, filled up to four bytes.
fn attribute(body: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = (4 + content.len()) as u16;
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(content);
    body.resize(body.len().next_multiple_of(4), 0);
}
