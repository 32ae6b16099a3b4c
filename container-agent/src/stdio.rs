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

/// All that a process may get as its standard streams, made before it is known what it needs.
pub struct Offered {
    pipes: Given,
    console: OwnedFd,
}

/// The agent's ends of what a process was offered.
pub struct Offer {
    ends: Ends,
    console: OwnedFd,
}

/// Makes all that a process may get.
pub fn offer() -> io::Result<(Offer, Offered)> {
    let (ends, pipes) = pipes(true, 0)?;
    let (console, their_console) = console_sockets()?;
    let offered = Offered {
        pipes,
        console: their_console,
    };
    Ok((Offer { ends, console }, offered))
}

impl Offered {
    /// The process's choice; without `stdin` its standard input is empty.
    pub fn choose(self, terminal: bool, stdin: bool) -> io::Result<Streams> {
        if terminal {
            return Ok(Streams::Terminal(self.console));
        }
        let mut pipes = self.pipes;
        if !stdin {
            pipes[0] = null()?;
        }
        Ok(Streams::Pipes(pipes))
    }
}

impl Offer {
    /// Gives the pipes to the user `owner`.
    pub fn give_to(&self, owner: u32) -> io::Result<()> {
        give(&self.ends, owner)
    }

    /// The agent's ends, once the process has made its choice.
    pub fn ends(self, terminal: bool, stdin: bool) -> io::Result<Ends> {
        if terminal {
            return self::terminal(&self.console, stdin);
        }
        let mut ends = self.ends;
        if !stdin {
            ends.stdin = None;
        }
        Ok(ends)
    }
}

fn null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        CWD,
        "/dev/null",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Makes pipes for a process of the user `owner`; without `stdin` its standard input is empty.
pub fn pipes(stdin: bool, owner: u32) -> io::Result<(Ends, Given)> {
    let (stdin, our_stdin) = if stdin {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        (read, Some(write))
    } else {
        (null()?, None)
    };
    let (our_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (our_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let ends = Ends {
        stdin: our_stdin,
        stdout: Some(our_stdout),
        stderr: Some(our_stderr),
        terminal: false,
    };
    give(&ends, owner)?;
    Ok((ends, [stdin, stdout, stderr]))
}

/// Gives pipes, which have one owner for both ends, to a user, so that its process can open /dev/stdin, /dev/stdout and /dev/stderr.
fn give(ends: &Ends, owner: u32) -> io::Result<()> {
    let pipes = [&ends.stdin, &ends.stdout, &ends.stderr];
    for pipe in pipes.into_iter().flatten().filter(|_| owner != 0) {
        rustix::fs::fchown(pipe, Some(Uid::from_raw(owner)), None::<Gid>)?;
    }
    Ok(())
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
pub fn terminal(socket: impl AsFd, stdin: bool) -> io::Result<Ends> {
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

/// Takes a descriptor that was sent, without waiting for one.
pub fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
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
