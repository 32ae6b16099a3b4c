//! Other limits for a container that runs, or stands still.

use std::collections::BTreeMap;

use rvm_agent_protocol::Request;

use super::shared::{GuestError, Shared};
use crate::error::chain;
use crate::id::ContainerId;

/// Sets files of the container's control group, and has the guest give back so much of its memory.
///
/// In a container that stands still nobody could set them: there it is done when it goes on.
pub fn set(
    shared: &Shared,
    id: &ContainerId,
    files: BTreeMap<String, String>,
    balloon_mib: Option<u64>,
) -> Result<(), GuestError> {
    // The database calls it running a moment before it is.
    shared.wait_started();
    let brake = shared.brake()?;
    if let Some(files) = shared.limit_unless_paused(files) {
        tell(shared, id, files)?;
    }
    match balloon_mib {
        Some(mib) => Ok(brake.set_balloon(mib)?),
        None => Ok(()),
    }
}

/// Sets what was asked for while the container stood still.
pub fn catch_up(shared: &Shared, id: &ContainerId) {
    if let Err(error) = tell(shared, id, shared.take_limits()) {
        tracing::warn!(error = chain(&error), "the container keeps its limits");
    }
}

fn tell(
    shared: &Shared,
    id: &ContainerId,
    limits: BTreeMap<String, String>,
) -> Result<(), GuestError> {
    if limits.is_empty() {
        return Ok(());
    }
    let id = id.to_string();
    let told = shared.agent()?.call(&Request::Limit { id, limits });
    told.map_err(|error| match error.into() {
        GuestError::Agent(error) => GuestError::Limit(error),
        error => error,
    })
}
