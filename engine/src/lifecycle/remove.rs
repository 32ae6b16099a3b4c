//! Removing containers.

use super::{Engine, LockError, SignalError};
use crate::container::{Container, State};
use crate::put_away;
use crate::state::DatabaseError;

/// Why a container was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It runs.
    #[error(
        "cannot remove container \"{name}\": container is {state}: stop the container before removing or force remove"
    )]
    Running {
        /// Its name.
        name: String,
        /// Docker's word for how it runs.
        state: &'static str,
    },
    /// It is paused.
    #[error("cannot remove container \"{0}\": container is paused and must be unpaused first")]
    Paused(String),
    /// Somebody else removes it.
    #[error("removal of container {0} is already in progress")]
    InProgress(String),
    /// It could not be killed.
    #[error(transparent)]
    Kill(#[from] SignalError),
    /// Its lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Engine {
    /// Removes a container; with `force` it is killed if it runs.
    pub fn remove(&self, container: &Container, force: bool) -> Result<(), RemoveError> {
        let lock = loop {
            if let Some(lock) = self.lock(container)? {
                break lock;
            }
            let name = container.name.to_string();
            match self.database.get(&container.id)? {
                // It went while its lock was waited for.
                None => return Ok(()),
                Some(now) if now.state == State::Removing => {
                    return Err(RemoveError::InProgress(name));
                }
                Some(_) if force => self.kill_for_removal(container)?,
                Some(now) if now.state == State::Paused => return Err(RemoveError::Paused(name)),
                Some(now) => {
                    return Err(RemoveError::Running {
                        name,
                        state: now.state.shown(),
                    });
                }
            }
        };
        put_away::resources(&self.root, &self.database, &container.id);
        put_away::remove(&self.root, &self.database, &container.id);
        drop(lock);
        Ok(())
    }
}
