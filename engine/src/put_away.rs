//! Giving back what an ended container had. Its monitor does it, or whoever finds the monitor gone; the container's lock is held.

use crate::error::chain;
use crate::id::ContainerId;
use crate::network::Network;
use crate::root::Root;
use crate::state::Database;

/// Gives back addresses, rules and the monitor's socket. What fails is left to the next one who looks.
pub fn resources(root: &Root, database: &Database, id: &ContainerId) {
    let result = database
        .get(id)
        .map(|container| container.and_then(|container| container.endpoint));
    match result {
        Ok(Some(endpoint)) => {
            if let Err(error) = Network::of(root).disconnect(database, id, &endpoint) {
                tracing::error!(
                    error = chain(&error),
                    "the container's network could not be given back"
                );
            }
        }
        Ok(None) => {}
        Err(error) => tracing::error!(
            error = chain(&error),
            "cannot see what the container has to give back"
        ),
    }
    if let Err(error) = std::fs::remove_file(root.container(id).socket()) {
        tracing::debug!(%error, "no monitor's socket to remove");
    }
}

/// Removes a container and all that is kept of it: first the row, because a folder without a row is known to be rubbish.
pub fn remove(root: &Root, database: &Database, id: &ContainerId) {
    if let Err(error) = database.delete(id) {
        tracing::error!(
            error = chain(&error),
            "the container could not be removed from the database"
        );
        return;
    }
    if let Err(error) = root.container(id).remove() {
        tracing::warn!(%error, "the container's folder could not be removed");
    }
}
