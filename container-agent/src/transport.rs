//! Where the agent meets the host: vsock in a guest, an inherited socket in a sandbox of the host's, a Unix socket under test.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    accept_with,
};
use rvm_agent_protocol::{AGENT_PORT, READY_PORT};

use crate::stdio;

/// How the host reaches the agent.
pub enum Transport {
    /// vsock, with the ports of the protocol.
    Vsock,
    /// An inherited `SOCK_SEQPACKET` socket on which either side hands the other its end of a connection, with a port as a VMM's vsock
    /// device has it.
    Inherited(RawFd),
    /// A Unix socket at a path, so that the agent can be tried without a VM.
    Unix(PathBuf),
}

impl Transport {
    /// Starts to accept connections.
    pub fn listen(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Vsock => {
                let mut socket = vsock()?;
                while socket.as_raw_fd() <= libc::STDERR_FILENO {
                    // Without a console the kernel opens no standard streams: hold their places, so that nothing that is
                    // written to them ever goes to the host.
                    let _ = socket.into_raw_fd();
                    socket = vsock()?;
                }
                vsock_call(&socket, libc::VMADDR_CID_ANY, AGENT_PORT, libc::bind)?;
                // SAFETY: listen only takes a descriptor, which `socket` keeps open.
                check(unsafe { libc::listen(socket.as_raw_fd(), 16) })?;
                Ok(socket)
            }
            Self::Inherited(fd) => {
                // SAFETY: whoever has started the agent has given it this descriptor, and nobody else takes it.
                let socket = unsafe { BorrowedFd::borrow_raw(*fd) };
                Ok(rustix::io::fcntl_dupfd_cloexec(socket, 3)?)
            }
            Self::Unix(path) => Ok(UnixListener::bind(path)?.into()),
        }
    }

    /// Tells the host that the agent is ready: opens the connection that it waits for.
    pub fn announce(&self) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Vsock => {
                let socket = vsock()?;
                vsock_call(&socket, libc::VMADDR_CID_HOST, READY_PORT, libc::connect)?;
                Ok(Some(socket))
            }
            Self::Inherited(fd) => {
                let (ours, theirs) = rustix::net::socketpair(
                    AddressFamily::UNIX,
                    SocketType::STREAM,
                    SocketFlags::CLOEXEC,
                    None,
                )?;
                // SAFETY: as in `listen`.
                let socket = unsafe { BorrowedFd::borrow_raw(*fd) };
                let descriptors = [theirs.as_fd()];
                let mut space = [mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
                let port = READY_PORT.to_le_bytes();
                let parts = &[io::IoSlice::new(&port)];
                rustix::net::sendmsg(socket, parts, &mut ancillary, SendFlags::NOSIGNAL)?;
                Ok(Some(ours))
            }
            Self::Unix(_) => Ok(None),
        }
    }

    /// Says in place of [`Transport::announce`] why there will be no agent, where that can be said.
    pub fn refuse(&self, why: &str) {
        if let Self::Inherited(fd) = self {
            // SAFETY: as in `listen`.
            let socket = unsafe { BorrowedFd::borrow_raw(*fd) };
            // Without it, that the agent has ended says enough.
            let _ = rustix::net::send(socket, why.as_bytes(), SendFlags::NOSIGNAL);
        }
    }

    /// Takes the next connection; nothing when there will be none any more.
    pub fn accept(&self, listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Inherited(_) => match stdio::receive_descriptor(listener) {
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    Ok(None)
                }
                socket => socket.map(Some),
            },
            _ => Ok(Some(accept_with(listener, SocketFlags::CLOEXEC)?)),
        }
    }
}

fn vsock() -> io::Result<OwnedFd> {
    // SAFETY: socket takes no pointers.
    let fd =
        check(unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the call above has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

type AddressCall =
    unsafe extern "C" fn(libc::c_int, *const libc::sockaddr, libc::socklen_t) -> libc::c_int;

fn vsock_call(socket: &OwnedFd, cid: u32, port: u32, call: AddressCall) -> io::Result<()> {
    // SAFETY: sockaddr_vm is plain integers, for which zero is a value.
    let mut address: libc::sockaddr_vm = unsafe { mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = cid;
    address.svm_port = port;
    let length = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is a sockaddr_vm of `length` bytes and lives until the call, bind or connect, returns.
    check(unsafe { call(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
