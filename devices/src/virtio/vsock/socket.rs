//! The host's end of a connection: a stream socket that is never waited for.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::net::{RecvFlags, Shutdown};
use vm_memory::VolatileSlice;

/// How much of what nobody wants any more is read from a socket before it is closed, in pieces of 4 KiB.
const DISCARD_PIECES: usize = 64;

/// A connected stream socket.
pub struct Socket(OwnedFd);

impl Socket {
    /// Takes over a connected stream socket.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends from the guest's memory; returns how much the socket took, which is nothing when it is full.
    pub fn send_guest(&self, data: &VolatileSlice) -> io::Result<usize> {
        let guard = data.ptr_guard();
        // SAFETY: the slice is mapped memory of that length, and the kernel only reads it.
        let send = || unsafe {
            libc::send(
                self.0.as_raw_fd(),
                guard.as_ptr().cast(),
                guard.len(),
                FLAGS,
            )
        };
        transfer(send).map(Option::unwrap_or_default)
    }

    /// Sends bytes; returns how many the socket took, which is none when it is full.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        // SAFETY: `data` is a live slice, and the kernel only reads it.
        let send =
            || unsafe { libc::send(self.0.as_raw_fd(), data.as_ptr().cast(), data.len(), FLAGS) };
        transfer(send).map(Option::unwrap_or_default)
    }

    /// Receives into the guest's memory: `None` when there is nothing to be had now, 0 at the end of the stream.
    pub fn receive_guest(&self, buffer: &VolatileSlice) -> io::Result<Option<usize>> {
        let guard = buffer.ptr_guard_mut();
        // SAFETY: the slice is mapped memory of that length, which belongs to the guest: nothing in this process
        // assumes it to be unchanged.
        let receive = || unsafe {
            libc::recv(
                self.0.as_raw_fd(),
                guard.as_ptr().cast(),
                guard.len(),
                FLAGS,
            )
        };
        transfer(receive)
    }

    /// The other end's reads will find the end of the stream.
    pub fn end_sending(&self) {
        // It fails when the other end is gone, which comes to the same.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
    }

    /// The other end's writes will fail.
    pub fn end_receiving(&self) {
        let _ = rustix::net::shutdown(&self.0, Shutdown::Read);
    }

    /// Closes the socket in order: a Unix socket that is closed with something unread in it shows its other end an error
    /// instead of the end of the stream.
    pub fn close(self) {
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
        let mut unread = [0u8; 4096];
        for _ in 0..DISCARD_PIECES {
            match rustix::net::recv(&self.0, &mut unread, RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// How many bytes a call has transferred; `None` when it would have to wait.
fn transfer(mut call: impl FnMut() -> libc::ssize_t) -> io::Result<Option<usize>> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(Some(count)),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                error => return Err(error),
            },
        }
    }
}
