//! What commands and a monitor say to each other over `monitor.sock`.
//!
//! A connection carries one [`Request`], answered by one [`Response`], in the frames of [`rvm_agent_protocol::frame`]. After a successful
//! [`Request::Attach`] the connection carries the container's streams, as the agent's does, and at last a frame
//! [`Kind::Exited`](rvm_agent_protocol::Kind::Exited) with an [`Exit`]. After a successful [`Request::Connect`] one byte follows, and with
//! it a descriptor: a connection to the guest's agent.
//!
//! The output of an attached client is queued up to 1 MiB. When a client reads no further, the container waits for it,
//! as with Docker: nothing of its output is lost, neither to the client nor to the log.

use std::collections::BTreeMap;

use rvm_agent_protocol::WindowSize;
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::options::signal::Signal;
use crate::timing::Mark;

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
    /// Tell of the end of a process whose caller does not wait for it. After the answer one byte comes from the client, and with it a
    /// descriptor: the process's stream.
    Follow {
        /// The process's name in its events.
        exec: String,
    },
    /// Let the vCPUs stand still.
    Pause,
    /// Let them go on.
    Unpause,
    /// Save the container as a checkpoint.
    Checkpoint {
        /// The checkpoint's name.
        name: Name,
        /// The container goes on; otherwise it ends.
        leave_running: bool,
    },
    /// Set limits of the container: at once, or when it goes on if it stands still.
    Limit {
        /// Files of its control group, and what is to stand in them.
        files: BTreeMap<String, String>,
        /// How much of its memory the guest is to give back.
        balloon_mib: Option<u64>,
    },
    /// Send the container's first process a signal.
    Signal {
        /// Which.
        signal: Signal,
        /// What for.
        purpose: Purpose,
    },
}

/// What a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// It says something to the process.
    Tell,
    /// It ends the container, which is not to be started again by its policy.
    Stop,
    /// It ends the container, of which nothing is kept.
    Remove,
    /// It ends the container, which whoever sends it starts again; so it is not removed, whatever was asked for.
    Restart,
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
    /// Its monitor goes on, and starts it again.
    #[serde(default)]
    pub restarting: bool,
    /// When the monitor had reached which stage of the run.
    #[serde(default)]
    pub timing: Vec<Mark>,
}

impl Exit {
    /// An end for good.
    pub fn new(code: i32, error: Option<String>) -> Self {
        Self {
            code,
            error,
            restarting: false,
            timing: Vec::new(),
        }
    }
}
