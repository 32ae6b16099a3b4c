//! Letting a container stand still, its vCPUs or its processes, and go on.

use std::sync::Arc;

use rvm_agent_protocol::Request;
use rvm_vmm::control::Command;

use super::boot;
use super::limit;
use super::shared::{GuestError, Shared};
use crate::enclosure::Brake;
use crate::error::chain;
use crate::id::ContainerId;
use crate::state::Database;

/// Pauses or goes on, and notes it. Whoever wants the other comes after.
pub fn set(
    shared: &Arc<Shared>,
    database: &Database,
    id: &ContainerId,
    pause: bool,
) -> Result<(), GuestError> {
    let mut paused = shared.paused();
    match (*paused, pause) {
        (true, true) => return Err(GuestError::AlreadyPaused(id.to_string())),
        (false, false) => return Err(GuestError::NotPaused(id.to_string())),
        _ => {}
    }
    match &*shared.brake()? {
        Brake::Vcpus(controller) => controller.command(&if pause {
            Command::Pause
        } else {
            Command::Resume
        })?,
        Brake::Agent => shared.agent()?.call(&Request::Freeze {
            id: id.to_string(),
            freeze: pause,
        })?,
    }
    *paused = pause;
    drop(paused);
    if let Err(error) = database.set_paused(id, pause) {
        tracing::error!(error = chain(&error), "cannot note the container's state");
    }
    if !pause {
        set_clock(shared, database, id);
        limit::catch_up(shared, id);
    }
    Ok(())
}

/// Tells the guest what time it is. It goes on without it, too.
fn set_clock(shared: &Shared, database: &Database, id: &ContainerId) {
    let Ok(Some(container)) = database.get(id) else {
        return;
    };
    let told = boot::guest(&container.settings, container.endpoint.as_ref())
        .map_err(|error| chain(&error))
        .and_then(|guest| {
            let mut agent = shared.agent().map_err(|error| chain(&error))?;
            agent
                .call(&Request::Configure(guest))
                .map_err(|error| chain(&error))
        });
    if let Err(error) = told {
        tracing::warn!(error, "the guest was not told what time it is");
    }
}
