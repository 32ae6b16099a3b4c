//! Standard streams for a process to be: pipes, or a terminal in the container's devpts.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType};
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

/// Makes the two ends of a socket on which the master of a terminal is handed over.
pub fn console_sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Takes the master of a terminal that was sent.
pub fn terminal(socket: &OwnedFd, stdin: bool) -> io::Result<Ends> {
    let master = receive_descriptor(socket)?;
    let stdin = if stdin { Some(master.try_clone()?) } else { None };
    Ok(Ends { stdin, stdout: Some(master), stderr: None, terminal: true })
}

fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    let buffers = &mut [io::IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(socket, buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            if let Some(descriptor) = descriptors.next() {
                return Ok(descriptor);
            }
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
