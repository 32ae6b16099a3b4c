//! A connection to the agent in a guest.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rvm_agent_protocol::frame::{self, Kind};
use rvm_agent_protocol::{Failure, Request, Response};

/// A connection on which requests are made.
#[derive(Debug)]
pub struct Agent(UnixStream);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The agent says no.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// The connection failed.
    #[error("the connection to the guest failed")]
    Frame(#[from] frame::Error),
    /// The guest's side closed the connection.
    #[error("the guest closed the connection")]
    Closed,
    /// The agent answered something else.
    #[error("the guest gave an answer that is not understood")]
    Answer,
}

impl Agent {
    /// A connection to [`rvm_agent_protocol::AGENT_PORT`], or the one that the agent has opened.
    pub fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Makes a request, and waits for its success.
    pub fn call(&mut self, request: &Request) -> Result<(), AgentError> {
        frame::write_json(&mut self.0, Kind::Request, request)?;
        match frame::read(&mut self.0)? {
            Some((Kind::Response, payload)) => {
                match serde_json::from_slice(&payload).map_err(frame::Error::from)? {
                    Response::Ok | Response::Created { .. } => Ok(()),
                    Response::Failed(failure) => Err(failure.into()),
                }
            }
            Some(_) => Err(AgentError::Answer),
            None => Err(AgentError::Closed),
        }
    }

    /// How long [`Agent::call`] waits.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(timeout)
    }

    /// The connection itself, which after a successful start or exec belongs to the process.
    pub fn into_stream(self) -> UnixStream {
        self.0
    }
}
