//! Standard streams for a process to be: pipes, or a terminal in the container's devpts.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::runtime::Streams;
use crate::spec::Process;
use crate::stream::Ends;

/// The ends of pipes that a process gets, in the order of their descriptors.
pub type Given = [OwnedFd; 3];

/// The standard streams of a process that does not exist yet.
pub struct Plan {
    /// What the process gets.
    pub given: Streams,
    ours: Ours,
}

enum Ours {
    Pipes(Ends),
    Terminal(OwnedFd),
}

impl Plan {
    /// Makes what `process` needs; without `stdin` its standard input is empty.
    pub fn new(process: &Process, stdin: bool) -> io::Result<Self> {
        let (given, ours) = if process.terminal {
            let (ours, theirs) = console_sockets()?;
            (Streams::Terminal(theirs), Ours::Terminal(ours))
        } else {
            let (ours, given) = pipes(stdin, process.user.uid)?;
            (Streams::Pipes(given), Ours::Pipes(ours))
        };
        Ok(Self { given, ours })
    }

    /// The agent's ends, once the process has been made.
    pub fn ends(self, stdin: bool) -> io::Result<Ends> {
        match self.ours {
            Ours::Pipes(ends) => Ok(ends),
            Ours::Terminal(socket) => terminal(&socket, stdin),
        }
    }
}

/// Makes pipes for a process of the user `owner`; without `stdin` its standard input is empty.
fn pipes(stdin: bool, owner: u32) -> io::Result<(Ends, Given)> {
    let (stdin, our_stdin) = if stdin {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        (read, Some(write))
    } else {
        let null = rustix::fs::openat(
            CWD,
            "/dev/null",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        (null, None)
    };
    let (our_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (our_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    // So that the process can open /dev/stdin, /dev/stdout and /dev/stderr.
    let pipes = [
        Some(&stdin).filter(|_| our_stdin.is_some()),
        Some(&stdout),
        Some(&stderr),
    ];
    for pipe in pipes.into_iter().flatten().filter(|_| owner != 0) {
        rustix::fs::fchown(pipe, Some(Uid::from_raw(owner)), None::<Gid>)?;
    }
    let ends = Ends {
        stdin: our_stdin,
        stdout: Some(our_stdout),
        stderr: Some(our_stderr),
        terminal: false,
    };
    Ok((ends, [stdin, stdout, stderr]))
}

/// Makes the two ends of a socket on which the master of a terminal is handed over.
fn console_sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Takes the master of a terminal that was sent.
fn terminal(socket: &OwnedFd, stdin: bool) -> io::Result<Ends> {
    let master = receive_descriptor(socket)?;
    let stdin = if stdin {
        Some(master.try_clone()?)
    } else {
        None
    };
    Ok(Ends {
        stdin,
        stdout: Some(master),
        stderr: None,
        terminal: true,
    })
}

fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    let buffers = &mut [io::IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(
        socket,
        buffers,
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    )?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(descriptor) = descriptors.next()
        {
            return Ok(descriptor);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
