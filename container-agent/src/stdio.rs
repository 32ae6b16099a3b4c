//! Standard streams for a process to be: pipes, or a terminal in the container's devpts.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::stream::Ends;

/// The ends of pipes that a process gets, in the order of their descriptors.
pub type Given = [OwnedFd; 3];

/// Makes pipes for a process of the user `owner`; without `stdin` its standard input is empty.
pub fn pipes(stdin: bool, owner: u32) -> io::Result<(Ends, Given)> {
    let (stdin, our_stdin) = if stdin {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        (read, Some(write))
    } else {
        let null = rustix::fs::openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        (null, None)
    };
    let (our_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (our_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    // So that the process can open /dev/stdin, /dev/stdout and /dev/stderr.
    let pipes = [Some(&stdin).filter(|_| our_stdin.is_some()), Some(&stdout), Some(&stderr)];
    for pipe in pipes.into_iter().flatten().filter(|_| owner != 0) {
        rustix::fs::fchown(pipe, Some(Uid::from_raw(owner)), None::<Gid>)?;
    }
    let ends = Ends { stdin: our_stdin, stdout: Some(our_stdout), stderr: Some(our_stderr), terminal: false };
    Ok((ends, [stdin, stdout, stderr]))
}

/// The socket on which libcontainer hands over the master of a terminal.
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens at `path`.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        Ok(Self { listener: UnixListener::bind(&path)?, path })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the master of a terminal for a process of the user `owner`. Only after libcontainer has sent it.
    pub fn receive(self, stdin: bool, owner: u32) -> io::Result<Ends> {
        self.listener.set_nonblocking(true)?;
        let (socket, _) = self.listener.accept()?;
        let master = receive_descriptor(&socket)?;
        if owner != 0 {
            rustix::fs::fchown(slave(&master)?, Some(Uid::from_raw(owner)), None::<Gid>)?;
        }
        let stdin = if stdin { Some(master.try_clone()?) } else { None };
        Ok(Ends { stdin, stdout: Some(master), stderr: None, terminal: true })
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // At worst it goes with the container's folder.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The slave of a terminal, whatever the mount namespace it is in.
fn slave(master: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: TIOCGPTPEER takes open flags and returns a new descriptor, or -1.
    let fd = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    let buffers = &mut [io::IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(socket, buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            if let Some(descriptor) = descriptors.next() {
                return Ok(descriptor);
            }
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
