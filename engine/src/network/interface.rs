//! Requests about network interfaces that the kernel takes as ioctls (netdevice(7)).

use std::ffi::c_int;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use libc::{c_short, ifreq};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// The longest name of an interface, in bytes.
pub const NAME_LIMIT: usize = libc::IFNAMSIZ - 1;

/// `SIOCBRADDBR` of `linux/sockios.h`: makes a bridge.
pub const SIOCBRADDBR: libc::c_ulong = 0x89a0;
/// `SIOCBRDELBR` of `linux/sockios.h`: removes a bridge.
pub const SIOCBRDELBR: libc::c_ulong = 0x89a1;
/// `SIOCBRADDIF` of `linux/sockios.h`: makes an interface a bridge's port.
pub const SIOCBRADDIF: libc::c_ulong = 0x89a2;

/// A socket to which requests go.
pub fn socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// A request about one interface.
pub struct Request(ifreq);

impl Request {
    /// A request about the interface of that name.
    pub fn about(name: &str) -> io::Result<Self> {
        if name.len() > NAME_LIMIT || name.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: an ifreq is plain data for which all zeroes are valid.
        let mut request: ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        Ok(Self(request))
    }

    /// With flags.
    pub fn flags(mut self, flags: c_int) -> Self {
        self.0.ifr_ifru.ifru_flags = flags as c_short;
        self
    }

    /// With another interface's index.
    pub fn index(mut self, index: c_int) -> Self {
        self.0.ifr_ifru.ifru_ifindex = index;
        self
    }

    /// With an IPv4 address.
    pub fn address(mut self, address: Ipv4Addr) -> Self {
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: 0,
            sin_addr: libc::in_addr {
                s_addr: address.to_bits().to_be(),
            },
            sin_zero: [0; 8],
        };
        // SAFETY: both are socket addresses of 16 bytes, and every bit pattern is a valid sockaddr.
        self.0.ifr_ifru.ifru_addr =
            unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address) };
        self
    }

    /// Makes the request, one of those that take a `struct ifreq`, and hands back the answer.
    pub fn send(mut self, to: BorrowedFd<'_>, request: libc::c_ulong) -> io::Result<Self> {
        // SAFETY: the requests used here take a pointer to a struct ifreq, which lives on this stack frame.
        let result = unsafe { libc::ioctl(to.as_raw_fd(), request, &mut self.0) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(self)
        }
    }

    /// The flags in an answer.
    pub fn answered_flags(&self) -> c_int {
        // SAFETY: every bit pattern is a valid number.
        c_int::from(unsafe { self.0.ifr_ifru.ifru_flags })
    }

    /// The index in an answer.
    pub fn answered_index(&self) -> c_int {
        // SAFETY: every bit pattern is a valid number.
        unsafe { self.0.ifr_ifru.ifru_ifindex }
    }
}

/// Makes or removes a bridge ([`SIOCBRADDBR`], [`SIOCBRDELBR`]).
pub fn bridge_request(
    socket: BorrowedFd<'_>,
    request: libc::c_ulong,
    name: &str,
) -> io::Result<()> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: both requests take a pointer to a name that ends with a zero byte.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, name.as_ptr()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sets or clears `IFF_UP`.
pub fn set_up(socket: BorrowedFd<'_>, name: &str, up: bool) -> io::Result<()> {
    let flags = Request::about(name)?
        .send(socket, libc::SIOCGIFFLAGS as libc::c_ulong)?
        .answered_flags();
    let flags = if up {
        flags | libc::IFF_UP
    } else {
        flags & !libc::IFF_UP
    };
    Request::about(name)?
        .flags(flags)
        .send(socket, libc::SIOCSIFFLAGS as libc::c_ulong)?;
    Ok(())
}

/// The interface's index; `None` when there is no such interface.
pub fn index(socket: BorrowedFd<'_>, name: &str) -> io::Result<Option<c_int>> {
    match Request::about(name)?.send(socket, libc::SIOCGIFINDEX as libc::c_ulong) {
        Ok(answer) => Ok(Some(answer.answered_index())),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}
