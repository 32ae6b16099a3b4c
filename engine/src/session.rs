//! A caller's part in the streams of a process: a container's first one, through its monitor, or a further one.

use std::io;
use std::os::unix::net::UnixStream;

use rvm_agent_protocol::frame::{self, Kind};
use rvm_agent_protocol::{ExitStatus, WindowSize};

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
pub struct Session(UnixStream);

/// Sends to the process.
#[derive(Debug)]
pub struct Input(UnixStream);

impl Session {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// The way to the process, for another thread.
    pub fn input(&self) -> io::Result<Input> {
        Ok(Input(self.0.try_clone()?))
    }

    /// Waits for what comes next.
    pub fn next_event(&mut self) -> Event {
        loop {
            match frame::read(&mut self.0) {
                Ok(Some((Kind::Stdout, bytes))) => return Event::Stdout(bytes),
                Ok(Some((Kind::Stderr, bytes))) => return Event::Stderr(bytes),
                Ok(Some((Kind::Exited, status))) => return exited(&status),
                Ok(Some(_)) => {}
                Ok(None) => return Event::Lost,
                Err(error) => {
                    tracing::debug!(%error, "the process's stream has broken");
                    return Event::Lost;
                }
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
        Ok(status) => Event::Exited(Exit {
            code: status.code(),
            error: None,
        }),
        Err(_) => Event::Lost,
    }
}

impl Input {
    /// Sends bytes to standard input, [`frame::MAX_PAYLOAD`] at most.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), frame::Error> {
        bytes
            .chunks(rvm_agent_protocol::frame::MAX_CHUNK)
            .try_for_each(|chunk| frame::write(&mut self.0, Kind::Stdin, chunk))
    }

    /// Ends standard input.
    pub fn close(&mut self) -> Result<(), frame::Error> {
        frame::write(&mut self.0, Kind::StdinClosed, &[])
    }

    /// Tells the terminal's new size.
    pub fn resize(&mut self, window: WindowSize) -> Result<(), frame::Error> {
        frame::write_json(&mut self.0, Kind::Resize, &window)
    }
}
