//! Making templates ahead of the containers that go on from them.

use super::{Engine, LockError};
use crate::container::Container;
use crate::monitor::{BootError, make_templates};
use crate::template::Key;

/// Why a template was not made.
#[derive(Debug, thiserror::Error)]
pub enum TemplateMakeError {
    /// The guest.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The container's lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Somebody else has started the container meanwhile.
    #[error("container {0} is used by somebody else")]
    Busy(String),
}

impl Engine {
    /// Makes the templates for containers like `container`, which is new and never runs; it is to be removed afterwards, whatever
    /// comes of it. The key of the template that such containers go on from.
    pub fn make_templates(&self, container: &Container) -> Result<Option<Key>, TemplateMakeError> {
        let lock = self.lock(container)?;
        let _lock = lock.ok_or_else(|| TemplateMakeError::Busy(container.name.to_string()))?;
        Ok(make_templates(&self.root, &self.database, container)?)
    }
}
