//! Messages between a VMM and its parent: JSON, one message a packet of [`crate::config::Config::control_fd`].

use std::os::fd::OwnedFd;

use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 64 << 10;

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
}

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

    /// Waits for the parent's next command; `None` when the parent is gone or says what is not understood.
    pub fn receive(&self) -> Option<Command> {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => return None,
                Ok((length, _)) => return serde_json::from_slice(&buffer[..length]).ok(),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}
