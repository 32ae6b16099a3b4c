//! A guest of a container that is not running: its files are there, and no process of it.

use std::os::unix::net::UnixStream;

use rvm_agent_protocol::{ArchiveAction, Request};

use super::boot::{BootError, guest, plan};
use super::sandboxed;
use super::shared::Shared;
use crate::container::Container;
use crate::enclosure::Enclosure;
use crate::error::chain;
use crate::lock::Lock;
use crate::options::isolation::Isolation;
use crate::root::Root;
use crate::spec::PREPARED;

/// The guest. What was written in it is on the container's disk when it is dropped.
#[derive(Debug)]
pub struct StoppedGuest {
    shared: Shared,
    // Fields are dropped in this order: nobody else uses the disk before the microVM or the sandbox is gone.
    enclosure: Enclosure,
    _lock: Lock,
}

impl StoppedGuest {
    /// Starts it, and has it do something with the container's files; the stream of that. `lock` is the container's.
    pub fn start(
        root: &Root,
        container: &Container,
        lock: Lock,
        action: ArchiveAction,
    ) -> Result<(Self, UnixStream), BootError> {
        let shared = Shared::new(false);
        let mut prepared = match container.settings.isolation {
            Isolation::Vm => plan(root, container)?.start(&shared)?,
            Isolation::Container => sandboxed::prepare(root, container, &shared, None)?.0,
        };
        let configure = Request::Configure(guest(&container.settings, None)?);
        prepared.agent.call(&configure)?;
        prepared.agent.call(&Request::Archive {
            id: PREPARED.to_owned(),
            action,
        })?;
        let started = Self {
            shared,
            enclosure: prepared.enclosure,
            _lock: lock,
        };
        Ok((started, prepared.agent.into_stream()))
    }
}

impl Drop for StoppedGuest {
    fn drop(&mut self) {
        let written = self
            .shared
            .agent()
            .and_then(|mut agent| Ok(agent.call(&Request::Shutdown)?));
        if written.is_ok() {
            self.enclosure.expect_end();
        }
        if let Err(error) = written {
            tracing::warn!(
                error = chain(&error),
                "the guest may not have written everything to the container's disk"
            );
        }
    }
}
