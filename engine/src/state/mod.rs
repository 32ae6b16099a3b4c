//! The database: one SQLite file, safe under concurrent commands and the sudden end of any of them.

mod changes;
mod containers;
mod events;
mod leases;
mod schema;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

pub use changes::Ending;
pub use containers::Found;
pub use leases::{LeaseError, Subnet};

use schema::{MIGRATIONS, VERSION};

/// A database, open unless it rests.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    connection: OnceCell<Connection>,
    /// The file that is written to after each event.
    bell: PathBuf,
}

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It can't be opened.
    #[error("cannot open the database {path}")]
    Open {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// It was made by a later version.
    #[error(
        "the database {path} has version {found}, and this rvm knows {known}: use the rvm that made it, or another --root"
    )]
    Version {
        /// The file.
        path: std::path::PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A statement failed.
    #[error("cannot read or write the database of containers")]
    Statement(#[from] rusqlite::Error),
    /// What it holds is not understood.
    #[error("the database of containers holds a {what} that is not understood: {text}")]
    Content {
        /// Of which kind.
        what: &'static str,
        /// The text.
        text: String,
    },
    /// A container of that name exists.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
}

/// How long a command waits for another one's transaction.
const BUSY: Duration = Duration::from_secs(20);

impl Database {
    /// Opens the database, and makes it where it is missing.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        let database = Self {
            path: path.to_owned(),
            connection: OnceCell::new(),
            bell: bell(path),
        };
        database.connection()?;
        Ok(database)
    }

    /// Closes the file, which gives back what SQLite has in memory, until the database is used again.
    pub fn rest(&mut self) {
        self.connection.take();
    }

    fn connection(&self) -> Result<&Connection, DatabaseError> {
        match self.connection.get() {
            Some(connection) => Ok(connection),
            None => {
                let connection = connect(&self.path)?;
                Ok(self.connection.get_or_init(|| connection))
            }
        }
    }
}

fn connect(path: &Path) -> Result<Connection, DatabaseError> {
    let open = |source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    };
    let connection = Connection::open(path).map_err(open)?;
    connection.busy_timeout(BUSY).map_err(open)?;
    let version =
        |c: &Connection| c.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    let found = version(&connection).map_err(open)?;
    if found < VERSION {
        // The journal's mode outlives the connection, so that only the first one has to choose it.
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(open)?;
        let transaction = rusqlite::Transaction::new_unchecked(
            &connection,
            rusqlite::TransactionBehavior::Immediate,
        )
        .map_err(open)?;
        // Another command may have come first.
        let found = version(&transaction).map_err(open)?.clamp(0, VERSION);
        for migration in &MIGRATIONS[found as usize..] {
            transaction.execute_batch(migration).map_err(open)?;
        }
        if found < VERSION {
            transaction
                .pragma_update(None, "user_version", VERSION)
                .map_err(open)?;
        }
        transaction.commit().map_err(open)?;
    }
    let found = version(&connection).map_err(open)?;
    if found != VERSION {
        return Err(DatabaseError::Version {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    // With a write-ahead log this loses nothing when a process dies, and at most the last moments when the power fails.
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .map_err(open)?;
    Ok(connection)
}

/// The file beside the database that those who follow its events watch.
pub fn bell(database: &Path) -> PathBuf {
    database.with_extension("events")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_the_first_version_is_brought_up() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("rvm.db");
        let old = Connection::open(&path).expect("database");
        old.execute_batch(MIGRATIONS[0]).expect("tables");
        old.pragma_update(None, "user_version", 1).expect("version");
        drop(old);
        let database = Database::open(&path).expect("database");
        assert_eq!(database.last_event().expect("events"), 0);
        assert!(database.containers().expect("containers").is_empty());
        drop(database);
        let new = Connection::open(&path).expect("database");
        new.pragma_update(None, "user_version", VERSION + 1)
            .expect("version");
        assert!(matches!(
            Database::open(&path),
            Err(DatabaseError::Version { .. })
        ));
    }
}
