//! Where the agent meets the host: vsock in a guest, a Unix socket under test.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rvm_agent_protocol::{AGENT_PORT, READY_PORT};

/// How the host reaches the agent.
pub enum Transport {
    /// vsock, with the ports of the protocol.
    Vsock,
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
            Self::Unix(_) => Ok(None),
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
