//! A caller's part in the streams of a process: a container's first one, through its monitor, or a further one.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rvm_agent_protocol::frame::{self, Kind};
use rvm_agent_protocol::{ExitStatus, WindowSize};

use crate::exec_events::ExecEvents;
use crate::monitor::protocol::Exit;

/// What comes from the process.
#[derive(Debug)]
pub enum Event {
    /// Standard output, or the terminal's.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
    /// It has ended, and all its output has come.
    Exited(Exit),
    /// Whoever had it in hand is gone, and with it the process.
    Lost,
}

/// A part in the streams of a process.
#[derive(Debug)]
pub struct Session {
    stream: UnixStream,
    further: Option<Further>,
}

/// What a session has for a further process alone.
#[derive(Debug)]
struct Further {
    /// Of whose end the session is to tell.
    events: ExecEvents,
    /// Becomes readable when the caller leaves.
    left: Arc<OwnedFd>,
}

/// Sends to the process.
#[derive(Debug)]
pub struct Input {
    stream: UnixStream,
    left: Option<Arc<OwnedFd>>,
}

impl Session {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            further: None,
        }
    }

    /// The part in a further process, of which there are events.
    pub(crate) fn with_events(stream: UnixStream, events: ExecEvents) -> io::Result<Self> {
        let left = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let left = Arc::new(left);
        Ok(Self {
            stream,
            further: Some(Further { events, left }),
        })
    }

    /// The way to the process, for another thread.
    pub fn input(&self) -> io::Result<Input> {
        Ok(Input {
            stream: self.stream.try_clone()?,
            left: self.further.as_ref().map(|further| further.left.clone()),
        })
    }

    /// Leaves a further process to itself, from its beginning on.
    pub fn detach(self) {
        if let Some(further) = &self.further {
            further.events.hand_over(&self.stream);
        }
    }

    /// Waits for what comes next.
    pub fn next_event(&mut self) -> Event {
        loop {
            if self.caller_leaves() {
                if let Some(further) = self.further.take() {
                    further.events.left();
                    further.events.hand_over(&self.stream);
                }
                return Event::Lost;
            }
            match frame::read(&mut self.stream) {
                Ok(Some((Kind::Stdout, bytes))) => return Event::Stdout(bytes),
                Ok(Some((Kind::Stderr, bytes))) => return Event::Stderr(bytes),
                Ok(Some((Kind::Exited, status))) => {
                    let event = exited(&status);
                    if let (Event::Exited(exit), Some(further)) = (&event, &self.further) {
                        further.events.end(exit.code);
                    }
                    return event;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Event::Lost,
                Err(error) => {
                    tracing::debug!(%error, "the process's stream has broken");
                    return Event::Lost;
                }
            }
        }
    }

    /// Waits until there is something to read, or until the caller leaves a further process: never in the midst of a frame.
    fn caller_leaves(&self) -> bool {
        let Some(further) = &self.further else {
            return false;
        };
        let mut ready = [
            PollFd::new(&self.stream, PollFlags::IN),
            PollFd::new(&*further.left, PollFlags::IN),
        ];
        match rustix::io::retry_on_intr(|| poll(&mut ready, None)) {
            Ok(_) => !ready[1].revents().is_empty(),
            Err(error) => {
                tracing::debug!(%error, "cannot wait for the process");
                false
            }
        }
    }
}

/// A monitor tells an [`Exit`], an agent an [`ExitStatus`].
fn exited(payload: &[u8]) -> Event {
    if let Ok(exit) = serde_json::from_slice::<Exit>(payload) {
        return Event::Exited(exit);
    }
    match serde_json::from_slice::<ExitStatus>(payload) {
        Ok(status) => Event::Exited(Exit::new(status.code(), None)),
        Err(_) => Event::Lost,
    }
}

impl Input {
    /// Sends bytes to standard input, [`frame::MAX_PAYLOAD`] at most.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), frame::Error> {
        bytes
            .chunks(rvm_agent_protocol::frame::MAX_CHUNK)
            .try_for_each(|chunk| frame::write(&mut self.stream, Kind::Stdin, chunk))
    }

    /// Ends standard input.
    pub fn close(&mut self) -> Result<(), frame::Error> {
        frame::write(&mut self.stream, Kind::StdinClosed, &[])
    }

    /// Ends the caller's part; the process goes on.
    pub fn leave(&self) -> io::Result<()> {
        match &self.left {
            Some(left) => {
                rustix::io::write(left, &1_u64.to_ne_bytes())?;
                Ok(())
            }
            None => self.stream.shutdown(std::net::Shutdown::Both),
        }
    }

    /// Tells the terminal's new size.
    pub fn resize(&mut self, window: WindowSize) -> Result<(), frame::Error> {
        frame::write_json(&mut self.stream, Kind::Resize, &window)
    }
}
