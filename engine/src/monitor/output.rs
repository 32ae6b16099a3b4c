//! What comes from the container's first process: its output, and how it has ended.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use rvm_agent_protocol::frame;
use rvm_agent_protocol::{ExitStatus, Kind, Request};

use super::protocol::Exit;
use super::shared::Shared;
use crate::enclosure::Enclosure;
use crate::error::chain;
use crate::log::{Log, Stream};
use crate::microvm::AgentError;

/// How long the VMM's last word is waited for when the container's stream has ended without one.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// How long a guest may take to write everything to its disk.
const WRITE_BACK_PATIENCE: Duration = Duration::from_secs(60);

/// Passes the container's output on until it has ended; how it did, unless the microVM went first.
pub fn pump(shared: &Shared, log: &mut Log, stream: &mut UnixStream) -> Option<ExitStatus> {
    loop {
        match frame::read(stream) {
            Ok(Some((Kind::Stdout, bytes))) => {
                log.write(Stream::Stdout, &bytes);
                shared.clients.send(Kind::Stdout, bytes);
            }
            Ok(Some((Kind::Stderr, bytes))) => {
                log.write(Stream::Stderr, &bytes);
                shared.clients.send(Kind::Stderr, bytes);
            }
            Ok(Some((Kind::Exited, status))) => match serde_json::from_slice(&status) {
                Ok(status) => return Some(status),
                Err(error) => {
                    tracing::error!(%error, "the guest's exit status is not understood");
                    return None;
                }
            },
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => {
                tracing::debug!(%error, "the container's stream has broken");
                return None;
            }
        }
    }
}

/// Has the guest write everything to its disk and unmount it; whether it has.
pub fn write_back(shared: &Shared) -> bool {
    let asked = shared.agent().and_then(|mut agent| {
        let timed = agent.set_timeout(Some(WRITE_BACK_PATIENCE));
        timed.map_err(AgentError::from)?;
        Ok(agent.call(&Request::Shutdown)?)
    });
    if let Err(error) = &asked {
        tracing::warn!(
            error = chain(error),
            "the guest has not written back everything; the last seconds may be missing"
        );
    }
    asked.is_ok()
}

/// The end as it is told, and whether it was for want of memory.
pub fn exit(status: Option<ExitStatus>, shared: &Shared, enclosure: &Enclosure) -> (Exit, bool) {
    match status {
        Some(ExitStatus::OutOfMemory) => {
            let error = Some("out of memory".to_owned());
            (Exit::new(ExitStatus::OutOfMemory.code(), error), true)
        }
        Some(status) => (Exit::new(status.code(), None), false),
        None if shared.killed() => (Exit::new(137, None), false),
        None => {
            let error = enclosure.early_end(END_PATIENCE);
            tracing::error!("{error}");
            (Exit::new(137, Some(error)), false)
        }
    }
}
