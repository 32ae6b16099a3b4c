//! A connection to the agent in a guest.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rvm_agent_protocol::frame::{self, Kind};
use rvm_agent_protocol::{Failure, Observed, Request, Response};

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
    /// The connection could not be set up.
    #[error("the connection to the guest could not be set up")]
    SetUp(#[from] io::Error),
    /// The agent answered something else.
    #[error("the guest gave an answer that is not understood")]
    Answer,
}

impl AgentError {
    /// Whether the agent is gone.
    pub fn is_broken(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match self {
            Self::Closed => true,
            Self::Frame(frame::Error::Io(error)) => {
                matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
            }
            _ => false,
        }
    }
}

impl Agent {
    /// A connection to [`rvm_agent_protocol::AGENT_PORT`], or the one that the agent has opened.
    pub fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Makes a request, and waits for its success.
    pub fn call(&mut self, request: &Request) -> Result<(), AgentError> {
        done(self.ask(request)?)
    }

    /// Makes requests that follow each other in one go, and waits for the success of all.
    pub fn call_all(&mut self, requests: &[Request]) -> Result<(), AgentError> {
        for request in requests {
            frame::write_json(&mut self.0, Kind::Request, request)?;
        }
        requests.iter().try_for_each(|_| done(self.answer()?))
    }

    /// Asks what the guest's kernel tells of a container: files by their names.
    pub fn observe(
        &mut self,
        id: String,
        what: Observed,
    ) -> Result<HashMap<String, String>, AgentError> {
        match self.ask(&Request::Observe { id, what })? {
            Response::Observed { files } => Ok(files.into_iter().collect()),
            Response::Failed(failure) => Err(failure.into()),
            Response::Ok | Response::Created { .. } => Err(AgentError::Answer),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Response, AgentError> {
        frame::write_json(&mut self.0, Kind::Request, request)?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Response, AgentError> {
        match frame::read(&mut self.0)? {
            Some((Kind::Response, payload)) => {
                Ok(serde_json::from_slice(&payload).map_err(frame::Error::from)?)
            }
            Some(_) => Err(AgentError::Answer),
            None => Err(AgentError::Closed),
        }
    }

    /// Makes a request that makes a process; the process's id in the guest.
    pub fn call_for_pid(&mut self, request: &Request) -> Result<i32, AgentError> {
        match self.ask(request)? {
            Response::Created { pid } => Ok(pid),
            Response::Ok | Response::Observed { .. } => Err(AgentError::Answer),
            Response::Failed(failure) => Err(failure.into()),
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

fn done(response: Response) -> Result<(), AgentError> {
    match response {
        Response::Ok | Response::Created { .. } => Ok(()),
        Response::Failed(failure) => Err(failure.into()),
        Response::Observed { .. } => Err(AgentError::Answer),
    }
}
