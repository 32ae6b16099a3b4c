//! The events of a further process in a container: it is made, starts, and ends.

use std::os::unix::net::UnixStream;

use crate::error::chain;
use crate::event::attributes;
use crate::id::ContainerId;
use crate::monitor_client;
use crate::root::Root;
use crate::state::Database;

/// The events of one process. What can't be recorded is no reason for it not to run.
#[derive(Debug)]
pub(crate) struct ExecEvents {
    root: Root,
    container: ContainerId,
    exec: String,
}

impl ExecEvents {
    /// Tells that the process is made, and that it starts.
    pub fn begin(root: &Root, container: &ContainerId, command: &[String]) -> Self {
        let events = Self {
            root: root.clone(),
            container: container.clone(),
            exec: ContainerId::random().map_or(String::new(), String::from),
        };
        let command = command.join(" ");
        for action in ["exec_create", "exec_start"] {
            events.tell(&format!("{action}: {command}"), None);
        }
        events
    }

    /// The events of a process that somebody else has told the beginning of.
    pub fn resume(root: &Root, container: &ContainerId, exec: String) -> Self {
        Self {
            root: root.clone(),
            container: container.clone(),
            exec,
        }
    }

    /// Leaves the telling of the end to the container's monitor, with the process's stream.
    pub fn hand_over(&self, process: &UnixStream) {
        let folder = self.root.container(&self.container);
        if let Err(error) = monitor_client::follow(&folder, self.exec.clone(), process) {
            tracing::warn!(
                error = chain(&error),
                "the process's end will not be told of"
            );
        }
    }

    /// Tells that whoever has started it has left it.
    pub fn left(&self) {
        self.tell("exec_detach", None);
    }

    /// Tells that it has ended.
    pub fn end(&self, code: i32) {
        self.tell("exec_die", Some(code));
    }

    fn tell(&self, action: &str, code: Option<i32>) {
        let mut more = attributes([("execID", self.exec.as_str())]);
        more.extend(code.map(|code| ("exitCode".to_owned(), code.to_string())));
        let recorded = Database::open(&self.root.database())
            .and_then(|database| database.record_container(&self.container, action, more));
        if let Err(error) = recorded {
            tracing::warn!(error = chain(&error), "an event was not recorded");
        }
    }
}
