//! The database: one SQLite file, safe under concurrent commands and the sudden end of any of them.

mod containers;
mod leases;

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

pub use containers::Found;
pub use leases::{LeaseError, Subnet};

/// An open database.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
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

const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE container (
        id          TEXT PRIMARY KEY,
        name        TEXT NOT NULL UNIQUE,
        settings    TEXT NOT NULL,
        state       TEXT NOT NULL,
        created     INTEGER NOT NULL,
        started     INTEGER,
        finished    INTEGER,
        exit_code   INTEGER,
        error       TEXT,
        endpoint    TEXT
    ) STRICT;
    CREATE INDEX container_state ON container (state);
    -- The one network; the row exists while the bridge does.
    CREATE TABLE network (
        only        INTEGER PRIMARY KEY CHECK (only = 1),
        subnet      INTEGER NOT NULL,
        prefix      INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE lease (
        address     INTEGER PRIMARY KEY,
        container   TEXT NOT NULL UNIQUE
    ) STRICT;
    PRAGMA user_version = 1;
";

impl Database {
    /// Opens the database, and makes it where it is missing.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        let open = |source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        };
        let connection = Connection::open(path).map_err(open)?;
        connection.busy_timeout(BUSY).map_err(open)?;
        let version =
            |c: &Connection| c.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
        if version(&connection).map_err(open)? == 0 {
            // The journal's mode outlives the connection, so that only the first one has to choose it.
            connection
                .pragma_update(None, "journal_mode", "WAL")
                .map_err(open)?;
            let transaction = rusqlite::Transaction::new_unchecked(
                &connection,
                rusqlite::TransactionBehavior::Immediate,
            )
            .map_err(open)?;
            if version(&transaction).map_err(open)? == 0 {
                transaction.execute_batch(SCHEMA).map_err(open)?;
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
        Ok(Self { connection })
    }
}
