//! The database's tables, and how older databases come to have them.

/// The version that [`MIGRATIONS`] lead to.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// What makes each version of the one before; the first one, of nothing.
pub const MIGRATIONS: [&str; 2] = [
    "
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
    ",
    "
    ALTER TABLE container ADD COLUMN pid INTEGER;
    ALTER TABLE container ADD COLUMN restart_count INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE container ADD COLUMN manually_stopped INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE container ADD COLUMN oom_killed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE container ADD COLUMN health TEXT;
    -- Numbers are never used again, so that who follows knows what is new.
    CREATE TABLE event (
        number      INTEGER PRIMARY KEY AUTOINCREMENT,
        time        INTEGER NOT NULL,
        kind        TEXT NOT NULL,
        action      TEXT NOT NULL,
        actor       TEXT NOT NULL,
        attributes  TEXT NOT NULL
    ) STRICT;
    ",
];
