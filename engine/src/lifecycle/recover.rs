//! Putting in order what sudden ends have left: no daemon does it, but every command that comes along.

use jiff::Timestamp;

use super::Engine;
use crate::container::{Container, State};
use crate::lock::Lock;
use crate::put_away;
use crate::state::{DatabaseError, Ending};

/// The exit code of a container whose end nobody has seen.
pub const LOST: i32 = 137;

impl Engine {
    /// Records containers whose monitors have died as exited, gives back what they had, and removes folders that belong to nothing.
    pub(super) fn recover(&self) -> Result<(), DatabaseError> {
        for container in self.database.in_hand()? {
            match Lock::try_take(&self.root.container(&container.id)) {
                Ok(Some(lock)) => self.recover_one(&container, lock)?,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, id = container.id.short(), "cannot see whether the container's monitor lives")
                }
            }
        }
        self.sweep()
    }

    /// Puts one container in order, unless it has changed before its lock was had.
    pub(super) fn recover_one(
        &self,
        container: &Container,
        lock: Lock,
    ) -> Result<(), DatabaseError> {
        let id = &container.id;
        let Some(container) = self.database.get(id)? else {
            return Ok(());
        };
        let removing = container.state == State::Removing;
        if !container.state.is_active() && !removing {
            return Ok(());
        }
        tracing::info!(
            id = id.short(),
            "whoever had the container in hand has died"
        );
        put_away::sandbox(&self.root, &container);
        put_away::resources(&self.root, &self.database, id);
        if removing || container.settings.auto_remove {
            put_away::remove(&self.root, &self.database, id);
        } else if container.state == State::Restarting {
            // How it ended is known.
            self.database.set_exited(id)?;
        } else {
            self.database.set_ended(
                id,
                &Ending {
                    finished: Timestamp::now(),
                    exit_code: LOST,
                    error: Some("its monitor has ended unexpectedly"),
                    oom_killed: false,
                    next: State::Exited,
                },
            )?;
        }
        drop(lock);
        Ok(())
    }

    /// Removes container folders of which the database knows nothing: a row is made before its folder, and removed before it.
    fn sweep(&self) -> Result<(), DatabaseError> {
        let Ok(entries) = std::fs::read_dir(self.root.containers()) else {
            return Ok(());
        };
        let names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let known = self.database.ids()?;
        for id in names
            .iter()
            .filter(|name| !known.contains(name))
            .filter_map(|name| name.parse().ok())
        {
            let folder = self.root.container(&id);
            if matches!(Lock::try_take(&folder), Ok(Some(_)))
                && let Err(error) = folder.remove()
            {
                tracing::warn!(%error, "a folder that belongs to no container could not be removed");
            }
        }
        Ok(())
    }
}
