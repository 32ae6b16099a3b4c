//! Commands to the VMM of a running microVM, from any thread.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use rvm_vmm::control::{self, Command, Event};

use super::descriptor;

/// How long a VMM may take to do what it is told.
const PATIENCE: Duration = Duration::from_secs(60);

/// The way to a VMM. One command is on its way at a time.
#[derive(Debug)]
pub struct Controller(Mutex<OwnedFd>);

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket failed.
    #[error("cannot talk to the VMM")]
    Socket(#[from] io::Error),
    /// The microVM has ended.
    #[error("the microVM has ended")]
    Ended,
    /// The VMM does not answer.
    #[error("the VMM does not answer")]
    Silent,
    /// The VMM says no.
    #[error("the VMM refuses: {0}")]
    Refused(String),
}

impl Controller {
    /// A way over the VMM's control socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self(Mutex::new(socket))
    }

    /// Gives a command, and waits until it is carried out.
    pub fn command(&self, command: &Command) -> Result<(), ControlError> {
        self.command_with(command, &[])
    }

    /// Gives a command with descriptors, and waits until it is carried out.
    pub fn command_with(
        &self,
        command: &Command,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ControlError> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = serde_json::to_vec(command).map_err(io::Error::from)?;
        descriptor::send_all(&*socket, &bytes, fds)?;
        let mut packet = vec![0; control::MAX_MESSAGE];
        loop {
            let patience = Timespec {
                tv_sec: PATIENCE.as_secs() as i64,
                tv_nsec: 0,
            };
            match poll(&mut [PollFd::new(&*socket, PollFlags::IN)], Some(&patience)) {
                Ok(0) => return Err(ControlError::Silent),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            }
            let received = rustix::io::retry_on_intr(|| {
                // What is not an answer is for whoever waits for the microVM's end.
                rustix::net::recv(&*socket, packet.as_mut_slice(), RecvFlags::PEEK)
            });
            let length = match received {
                Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => return Err(ControlError::Ended),
                Ok((_, length)) => length,
                Err(error) => return Err(io::Error::from(error).into()),
            };
            let event = serde_json::from_slice(&packet[..length]).map_err(io::Error::from)?;
            if matches!(event, Event::Stopped(_) | Event::Failed { .. }) {
                return Err(ControlError::Ended);
            }
            let taken = rustix::io::retry_on_intr(|| {
                rustix::net::recv(&*socket, packet.as_mut_slice(), RecvFlags::empty())
            });
            taken.map_err(io::Error::from)?;
            match event {
                Event::Done => return Ok(()),
                Event::Refused { message } => return Err(ControlError::Refused(message)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn the_end_is_left_to_whoever_waits_for_it() {
        let (ours, vmm) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("pair");
        let main = ours.try_clone().expect("descriptor");
        let controller = Controller::new(ours);
        let tell = |event: &Event| {
            let bytes = serde_json::to_vec(event).expect("JSON");
            rustix::net::send(&vmm, &bytes, SendFlags::empty()).expect("send");
        };
        tell(&Event::Running);
        tell(&Event::Done);
        controller.command(&Command::Pause).expect("done");
        tell(&Event::Refused {
            message: "no".to_owned(),
        });
        assert!(matches!(
            controller.command(&Command::Resume),
            Err(ControlError::Refused(_))
        ));
        tell(&Event::Stopped(control::Stop::PowerOff));
        assert!(matches!(
            controller.command(&Command::Pause),
            Err(ControlError::Ended)
        ));
        let mut packet = [0; 256];
        let (_, length) =
            rustix::net::recv(&main, packet.as_mut_slice(), RecvFlags::empty()).expect("receive");
        assert!(String::from_utf8_lossy(&packet[..length]).contains("power_off"));
    }
}
