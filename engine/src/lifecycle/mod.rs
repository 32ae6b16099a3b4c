//! What can be done with containers.

mod archive;
mod attach;
mod boot;
mod changes;
mod checkpoint;
mod commit;
mod copied;
mod copy;
mod create;
mod events;
mod exec;
mod list;
mod pause;
mod recover;
mod remove;
mod restart;
mod signal;
mod start;
mod template;
mod update;

pub use archive::{ArchiveError, Transfer};
pub use attach::AttachError;
pub use boot::{UnitError, disable as disable_boot, enable as enable_boot};
pub use changes::Change;
pub use checkpoint::CheckpointRequestError;
pub use commit::{CommitError, CommitRequest};
pub use copied::Copied;
pub use copy::{CopyError, CopyOptions};
pub use create::{CreateError, Request as CreateRequest};
pub use events::{EventFilter, EventFilterError, Events, EventsError};
pub use exec::{ExecError, Request as ExecRequest};
pub use pause::PauseError;
pub use remove::RemoveError;
pub use restart::{RenameError, RestartError};
pub use rvm_agent_protocol::WindowSize;
pub use signal::{SignalError, Stop};
pub use start::{Attach, MONITOR_CLIENT_FD, MONITOR_LOCK_FD, StartError, Started};
pub use template::TemplateMakeError;
pub use update::{Update, UpdateError};

use std::io;
use std::time::Duration;

use crate::container::Container;
use crate::event::{Attributes, NewEvent};
use crate::lock::Lock;
use crate::root::{Root, RootError};
use crate::state::{Database, DatabaseError, Found};

/// Containers, and what to do with them. A front end has one of these for each command or request.
#[derive(Debug)]
pub struct Engine {
    root: Root,
    database: Database,
}

/// Why the engine can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The root folder.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Why a reference does not lead to a container.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is none.
    #[error("No such container: {0}")]
    NotFound(String),
    /// There are several.
    #[error("multiple containers have an id that begins with {0}: write more of it")]
    Ambiguous(String),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl FindError {
    /// Whether there is just none.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}

impl Engine {
    /// The engine on a root folder. Containers whose monitors have died are put in order on the way.
    pub fn open(root: Root) -> Result<Self, OpenError> {
        let database = Database::open(&root.database())?;
        let engine = Self { root, database };
        engine.recover()?;
        Ok(engine)
    }

    /// The container's lock; `None` when a monitor has it. Commands that only look whether it is held have it for an instant too.
    fn lock(&self, container: &Container) -> Result<Option<Lock>, LockError> {
        let folder = self.root.container(&container.id);
        for _ in 0..LOCK_TRIES {
            if let Some(lock) = Lock::try_take(&folder).map_err(FolderError::of(container))? {
                return Ok(Some(lock));
            }
            if self
                .database
                .get(&container.id)?
                .is_some_and(|container| container.state.is_active())
            {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }

    /// Records an event that tells no change of a container's state; those are recorded with the change.
    pub fn record(&self, event: &NewEvent) -> Result<(), DatabaseError> {
        self.database.record(event)
    }

    /// Records an event of a container, with its name, its image, its labels and `more`.
    pub fn record_container(
        &self,
        container: &Container,
        action: &str,
        more: Attributes,
    ) -> Result<(), DatabaseError> {
        self.database.record_container(&container.id, action, more)
    }

    /// The root folder.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The container that a user means by an id, a name, or the beginning of an id.
    pub fn find(&self, reference: &str) -> Result<Container, FindError> {
        match self.database.find(reference)? {
            Found::One(container) => Ok(*container),
            Found::Nothing => Err(FindError::NotFound(reference.to_owned())),
            Found::Several => Err(FindError::Ambiguous(reference.to_owned())),
        }
    }
}

/// How often the lock of a container that doesn't run is tried, 5 ms apart.
const LOCK_TRIES: usize = 400;

/// Why a container's lock could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// A lock or a file of a container failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the folder of container {id}")]
pub struct FolderError {
    id: String,
    source: io::Error,
}

impl FolderError {
    fn of(container: &Container) -> impl Fn(io::Error) -> Self {
        let id = container.id.short().to_owned();
        move |source| Self {
            id: id.clone(),
            source,
        }
    }
}
