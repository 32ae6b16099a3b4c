//! Files of a container as archives, by way of the agent in its guest. The host never mounts what a guest has written.

use std::io::{self, Read, Write};

use rvm_agent_protocol::{ArchiveAction, FileStat, Request as AgentRequest};

use super::{Engine, LockError};
use crate::container::{Container, State};
use crate::microvm::{Agent, AgentError};
use crate::monitor::{BootError, StoppedGuest};
use crate::monitor_client::{self, ClientError};
use crate::session::{Event, Input, Session};

/// More than this of a sentence is not kept.
const SENTENCE: usize = 4096;

/// Why files could not be got at.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It starts or ends just now.
    #[error("container {0} is being started or stopped; try again")]
    Busy(String),
    /// No guest could be started for a container that is not running.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Its lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its processors stand still.
    #[error("container {0} is paused, unpause the container before its files are used")]
    Paused(String),
    /// The monitor.
    #[error(transparent)]
    Monitor(#[from] ClientError),
    /// The agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The stream.
    #[error("cannot talk to the guest")]
    Stream(#[source] io::Error),
    /// The guest says why.
    #[error("{0}")]
    Refused(String),
    /// The guest's answer.
    #[error("the guest gave an answer that is not understood")]
    Answer,
}

/// The work of a process in the guest: what it writes is read from here.
#[derive(Debug)]
pub struct Transfer {
    /// The guest, if it is there for this only.
    guest: Option<StoppedGuest>,
    session: Session,
    input: Input,
    pending: Vec<u8>,
    taken: usize,
    sentence: Vec<u8>,
    /// How it ended, once it has.
    end: Option<bool>,
}

impl Engine {
    /// Has the guest do something with the container's files.
    pub fn transfer(
        &self,
        container: &Container,
        action: ArchiveAction,
    ) -> Result<Transfer, ArchiveError> {
        if container.state == State::Paused {
            return Err(ArchiveError::Paused(container.id.to_string()));
        }
        let folder = self.root.container(&container.id);
        let (guest, stream) = match monitor_client::connect_agent(&folder) {
            Ok(stream) => {
                let mut agent = Agent::new(stream);
                agent.call(&AgentRequest::Archive {
                    id: container.id.to_string(),
                    action,
                })?;
                (None, agent.into_stream())
            }
            Err(ClientError::NotRunning) => {
                let Some(lock) = self.lock(container)? else {
                    return Err(ArchiveError::Busy(container.id.to_string()));
                };
                let (guest, stream) = StoppedGuest::start(&self.root, container, lock, action)?;
                (Some(guest), stream)
            }
            Err(error) => return Err(error.into()),
        };
        let session = Session::new(stream);
        let input = session.input().map_err(ArchiveError::Stream)?;
        Ok(Transfer {
            guest,
            session,
            input,
            pending: Vec::new(),
            taken: 0,
            sentence: Vec::new(),
            end: None,
        })
    }

    /// What the file at a path of the container is, if there is one.
    pub fn stat(
        &self,
        container: &Container,
        path: &str,
    ) -> Result<Option<FileStat>, ArchiveError> {
        let path = path.to_owned();
        let mut transfer = self.transfer(container, ArchiveAction::Stat { path })?;
        let mut text = Vec::new();
        let read = transfer.by_ref().take(1 << 20).read_to_end(&mut text);
        read.map_err(ArchiveError::Stream)?;
        transfer.finish()?;
        serde_json::from_slice(&text).map_err(|_| ArchiveError::Answer)
    }

    /// Packs a container's whole root file system.
    pub fn export(&self, container: &Container) -> Result<Transfer, ArchiveError> {
        self.transfer(container, ArchiveAction::Export)
    }
}

impl Transfer {
    /// Sends all of `from` to the process, and waits for its end.
    pub fn send(mut self, from: &mut impl Read) -> Result<(), ArchiveError> {
        let mut writer = Writer {
            input: &mut self.input,
            refused: false,
        };
        let sent = io::copy(from, &mut writer);
        // A process that takes no more says why, or has what it needs: an archive may have something behind its end.
        let refused = writer.refused || self.input.close().is_err();
        self.finish()?;
        match sent {
            Err(error) if !refused => Err(ArchiveError::Stream(error)),
            _ => Ok(()),
        }
    }

    /// Waits for the end of the process; an error is what it says.
    pub fn finish(mut self) -> Result<(), ArchiveError> {
        while self.end.is_none() {
            self.receive().map_err(ArchiveError::Stream)?;
        }
        // Whoever goes on finds it written.
        drop(self.guest.take());
        match self.end {
            Some(true) => Ok(()),
            _ => Err(ArchiveError::Refused(self.sentence())),
        }
    }

    fn sentence(&self) -> String {
        let text = String::from_utf8_lossy(&self.sentence).trim().to_owned();
        match text.is_empty() {
            true => "the guest could not do it, and did not say why".to_owned(),
            false => text,
        }
    }

    /// Takes what comes next.
    fn receive(&mut self) -> io::Result<()> {
        match self.session.next_event() {
            Event::Stdout(bytes) => {
                self.pending = bytes;
                self.taken = 0;
            }
            Event::Stderr(bytes) => {
                let room = SENTENCE.saturating_sub(self.sentence.len());
                self.sentence
                    .extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Event::Exited(exit) => self.end = Some(exit.code == 0),
            Event::Lost => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the container has ended",
                ));
            }
        }
        Ok(())
    }
}

impl Read for Transfer {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.pending.len() {
            match self.end {
                None => self.receive()?,
                Some(true) => return Ok(0),
                // Half an archive must not look like a whole one.
                Some(false) => return Err(io::Error::other(self.sentence())),
            }
        }
        let length = (self.pending.len() - self.taken).min(to.len());
        to[..length].copy_from_slice(&self.pending[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

struct Writer<'a> {
    input: &'a mut Input,
    /// The process takes no more.
    refused: bool,
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.input.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.refused = true;
                Err(io::Error::other(error))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
