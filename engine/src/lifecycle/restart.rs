//! Restarting containers, and giving them other names.

use super::signal::Stop;
use super::start::{Attach, StartError};
use super::{Engine, SignalError};
use crate::container::Container;
use crate::event::Attributes;
use crate::name::Name;
use crate::state::DatabaseError;

/// Why a container was not restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// It does not end.
    #[error(transparent)]
    Stop(#[from] SignalError),
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Why a container was not renamed.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// It has the name already.
    #[error("Renaming a container with the same name as its current name")]
    Same,
    /// The name is taken, or the database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Engine {
    /// Stops the container if it runs, and starts it.
    pub fn restart(&self, container: &Container, how: Stop) -> Result<(), RestartError> {
        self.end_for_restart(container, how)?;
        match self.start(container, Attach::default()) {
            // Somebody else was quicker.
            Ok(_) | Err(StartError::AlreadyRunning(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self
            .database
            .record_container(&container.id, "restart", Attributes::new())?)
    }

    /// Gives the container another name.
    pub fn rename(&self, container: &Container, name: &Name) -> Result<(), RenameError> {
        if container.name == *name {
            return Err(RenameError::Same);
        }
        Ok(self.database.rename(&container.id, name)?)
    }
}
