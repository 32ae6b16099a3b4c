//! What commands and a monitor say to each other over `monitor.sock`.
//!
//! A connection carries one [`Request`], answered by one [`Response`], in the frames of [`rvm_agent_protocol::frame`]. After a successful
//! [`Request::Attach`] the connection carries the container's streams, as the agent's does, and at last a frame
//! [`Kind::Exited`](rvm_agent_protocol::Kind::Exited) with an [`Exit`]. After a successful [`Request::Connect`] one byte follows, and with
//! it a descriptor: a connection to the guest's agent.
//!
//! The output of an attached client is queued up to 1 MiB. When a client reads no further, the container waits for it,
//! as with Docker: nothing of its output is lost, neither to the client nor to the log.

use rvm_agent_protocol::WindowSize;
use serde::{Deserialize, Serialize};

use crate::options::signal::Signal;

/// What a command asks of a monitor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Take part in the container's streams until it has ended. Answered when the container runs, or has failed to.
    Attach {
        /// Send standard input.
        stdin: bool,
        /// Receive standard output and standard error.
        output: bool,
        /// The size of the client's terminal.
        window: Option<WindowSize>,
    },
    /// Connect to the agent in the guest.
    Connect,
    /// Send the container's first process a signal.
    Signal {
        /// Which.
        signal: Signal,
    },
}

/// What a monitor answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// Done.
    Ok,
    /// Not done.
    Failed(Failure),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code of a command that fails for it.
    pub code: i32,
    /// A sentence for the user.
    pub message: String,
}

/// How a container has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code.
    pub code: i32,
    /// What went wrong, if it did not end by itself.
    pub error: Option<String>,
}
