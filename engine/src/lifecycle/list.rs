//! Listing containers.

use super::Engine;
use crate::container::Container;
use crate::state::DatabaseError;

impl Engine {
    /// The running containers, or all of them; the newest first.
    pub fn list(&self, all: bool) -> Result<Vec<Container>, DatabaseError> {
        let mut containers = self.database.containers()?;
        containers.retain(|container| all || container.state.is_up());
        Ok(containers)
    }
}
