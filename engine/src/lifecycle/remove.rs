//! Removing containers.

use super::{Engine, LockError, SignalError};
use crate::container::Container;
use crate::put_away;

/// Why a container was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It runs.
    #[error(
        "cannot remove container \"{0}\": container is running: stop the container before removing or force remove"
    )]
    Running(String),
    /// It could not be killed.
    #[error(transparent)]
    Kill(#[from] SignalError),
    /// Its lock.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl Engine {
    /// Removes a container; with `force` it is killed if it runs.
    pub fn remove(&self, container: &Container, force: bool) -> Result<(), RemoveError> {
        let lock = loop {
            if let Some(lock) = self.lock(container)? {
                break lock;
            }
            if !force {
                return Err(RemoveError::Running(container.name.to_string()));
            }
            self.kill(container)?;
        };
        put_away::resources(&self.root, &self.database, &container.id);
        put_away::remove(&self.root, &self.database, &container.id);
        drop(lock);
        Ok(())
    }
}
