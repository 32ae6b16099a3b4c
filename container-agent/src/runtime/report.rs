//! How a process that is being made tells the agent how far it has come: a pipe that closes when it becomes its command.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rvm_agent_protocol::{Failure, FailureKind};

const READY: u8 = 0xff;

/// The process's end.
pub struct Reporter(OwnedFd);

impl Reporter {
    /// Reports on `pipe`.
    pub fn new(pipe: OwnedFd) -> Self {
        Self(pipe)
    }

    /// All is set up; the process waits to be started.
    pub fn ready(&self) {
        // Without the report the agent takes the process for ended.
        let _ = rustix::io::write(&self.0, &[READY]);
    }

    /// The process gives up.
    pub fn failed(&self, failure: &Failure) {
        let kind = match failure.kind {
            FailureKind::CommandNotFound => 0,
            FailureKind::CommandNotExecutable => 1,
            _ => 2,
        };
        let mut bytes = vec![kind];
        bytes.extend_from_slice(failure.message.as_bytes());
        let _ = rustix::io::write(&self.0, &bytes);
    }
}

/// The agent's end.
pub struct Report(File);

impl Report {
    /// Reads from `pipe`.
    pub fn new(pipe: OwnedFd) -> Self {
        Self(pipe.into())
    }

    /// Waits until the process is set up.
    pub fn ready(&mut self) -> Result<(), Failure> {
        let mut first = [0];
        match self.0.read(&mut first) {
            Ok(1) if first[0] == READY => Ok(()),
            Ok(1) => Err(self.failure(first[0])),
            _ => Err(ended()),
        }
    }

    /// Waits until the process has become its command.
    pub fn outcome(mut self) -> Result<(), Failure> {
        let mut first = [0];
        match self.0.read(&mut first) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.failure(first[0])),
            Err(_) => Err(ended()),
        }
    }

    fn failure(&mut self, kind: u8) -> Failure {
        let kind = match kind {
            0 => FailureKind::CommandNotFound,
            1 => FailureKind::CommandNotExecutable,
            _ => FailureKind::Other,
        };
        let mut message = Vec::new();
        // Half a message is better than none.
        let _ = self.0.read_to_end(&mut message);
        Failure {
            kind,
            message: String::from_utf8_lossy(&message).into_owned(),
        }
    }
}

fn ended() -> Failure {
    Failure {
        kind: FailureKind::Other,
        message: "the process ended before it was set up".into(),
    }
}
