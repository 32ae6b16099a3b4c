//! Giving back what an ended container had. Its monitor does it, or whoever finds the monitor gone; the container's lock is held.

use crate::container::Container;
use crate::error::chain;
use crate::id::ContainerId;
use crate::microvm::agent_program;
use crate::network::Network;
use crate::options::isolation::Isolation;
use crate::root::Root;
use crate::rootless;
use crate::sandbox;
use crate::state::Database;

/// Gives back addresses, rules and the monitor's socket. What fails is left to the next one who looks.
pub fn resources(root: &Root, database: &Database, id: &ContainerId) {
    network(root, database, id);
    if let Err(error) = std::fs::remove_file(root.container(id).socket()) {
        tracing::debug!(%error, "no monitor's socket to remove");
    }
}

/// Ends what is left of a container's sandbox whose monitor has died.
pub fn sandbox(root: &Root, container: &Container) {
    // In a user namespace everything has ended with the monitor.
    if container.settings.isolation != Isolation::Container || rootless::applies() {
        return;
    }
    let disk = root.container(&container.id).disk();
    let cleaned = agent_program()
        .map_err(|error| chain(&error))
        .and_then(|agent| {
            sandbox::clean_up(&agent, &container.id, &disk).map_err(|error| chain(&error))
        });
    if let Err(error) = cleaned {
        tracing::error!(error, "the container's sandbox could not be put away");
    }
}

/// Gives back addresses and rules.
pub fn network(root: &Root, database: &Database, id: &ContainerId) {
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
}

/// Removes a container and all that is kept of it: the row before the folder, because a folder without a row is known to be
/// rubbish. One whose disk can't be removed is dead, until somebody removes it again.
pub fn remove(root: &Root, database: &Database, id: &ContainerId) {
    let folder = root.container(id);
    let removed =
        database
            .set_removing(id, false)
            .and_then(|()| match std::fs::remove_file(folder.disk()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::error!(%error, "the container's disk could not be removed");
                    database.set_removing(id, true).map(|()| false)
                }
                _ => database.delete(id),
            });
    match removed {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::error!(
                error = chain(&error),
                "the container could not be removed from the database"
            );
            return;
        }
    }
    if let Err(error) = folder.remove() {
        tracing::warn!(%error, "the container's folder could not be removed");
    }
}
