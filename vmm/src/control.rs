//! Messages between a VMM and its parent: JSON, one message a packet of [`crate::config::Config::control_fd`].

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg};
use serde::{Deserialize, Serialize};

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 64 << 10;
/// The longest command, in bytes; room for it stays in memory while a VMM waits for one.
const MAX_COMMAND: usize = 1 << 10;

/// What the VMM tells its parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Everything is set up and the vCPUs are about to run for the first time.
    Running,
    /// The virtual machine could not be set up; the process ends with code 1.
    Failed {
        /// The error and what led to it, for a user.
        message: String,
    },
    /// The virtual machine has come to its end, and the process ends.
    Stopped(Stop),
    /// The last command has been carried out.
    Done,
    /// The last command could not be carried out; the virtual machine is as it was before.
    Refused {
        /// Why, for a user.
        message: String,
    },
}

/// How a virtual machine came to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Stop {
    /// The guest switched itself off.
    PowerOff,
    /// The guest asked for a reset through the i8042 controller.
    Reset,
    /// The guest's kernel panicked.
    GuestPanic {
        /// The last lines of its console.
        console: String,
    },
    /// A vCPU met a fault while it delivered a double fault.
    TripleFault {
        /// Its registers, for a log.
        registers: String,
    },
    /// KVM could not go on with a vCPU.
    KvmError {
        /// What KVM said.
        message: String,
        /// The vCPU's registers, for a log.
        registers: String,
    },
    /// The parent asked for it.
    Requested,
}

/// What the parent asks of the VMM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// End the virtual machine at once; nothing in the guest is told.
    Stop,
    /// Let all vCPUs and devices stand still. Answered by [`Event::Done`].
    Pause,
    /// Let them go on. Answered by [`Event::Done`].
    Resume,
    /// Write a snapshot of the paused virtual machine to the two empty files that come with the message as `SCM_RIGHTS`, for its state and
    /// its memory. Behind them comes the VMM's own /proc/PID/pagemap, because the VMM can't open it. Answered by [`Event::Done`] or [`Event::Refused`].
    Snapshot,
    /// Have the guest give back this much of its memory, in MiB; 0 for nothing. Answered by [`Event::Done`] before the guest has done anything,
    /// or by [`Event::Refused`].
    Balloon {
        /// How much.
        mib: u64,
    },
}

/// How many descriptors come with a message at most.
const MAX_FDS: usize = 3;

/// The VMM's end of the connection to its parent.
pub struct Channel(OwnedFd);

impl Channel {
    /// Takes over the socket [`crate::config::Config::control_fd`].
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Tells the parent; a parent that is gone is no error, since the VMM then ends anyway.
    pub fn send(&self, event: &Event) {
        let sent = serde_json::to_vec(event)
            .map_err(std::io::Error::from)
            .and_then(|bytes| Ok(rustix::net::send(&self.0, &bytes, SendFlags::NOSIGNAL)?));
        if let Err(error) = sent {
            tracing::warn!(?event, %error, "can't tell the parent");
        }
    }

    /// Waits for the parent's next command and the descriptors that come with it; `None` when the parent is gone or says what is not understood.
    pub fn receive(&self) -> Option<(Command, Vec<OwnedFd>)> {
        let mut bytes = [0; MAX_COMMAND];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            match recvmsg(
                &self.0,
                &mut slices,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(message) => break message.bytes,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        };
        let command = serde_json::from_slice(bytes.get(..length)?).ok()?;
        let fds = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        Some((command, fds.flatten().collect()))
    }
}
