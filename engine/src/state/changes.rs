//! Changes of containers' states, each in one transaction with the event that tells it.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use super::containers::{json, nanoseconds};
use super::events::append_container;
use super::{Database, DatabaseError};
use crate::container::{Settings, State};
use crate::event::{Attributes, attributes};
use crate::health::Health;
use crate::id::ContainerId;
use crate::name::Name;

/// How a run of a container has ended.
#[derive(Clone, Debug)]
pub struct Ending<'a> {
    /// When.
    pub finished: Timestamp,
    /// Its exit code.
    pub exit_code: i32,
    /// What went wrong.
    pub error: Option<&'a str>,
    /// For want of memory.
    pub oom_killed: bool,
    /// The state that follows: exited or restarting.
    pub next: State,
}

impl Database {
    /// Adds a container in state [`State::Created`].
    pub fn insert(
        &self,
        id: &ContainerId,
        name: &Name,
        settings: &Settings,
        created: Timestamp,
    ) -> Result<(), DatabaseError> {
        self.transaction(|transaction| {
            let inserted = transaction.execute(
                "INSERT INTO container (id, name, settings, state, created) VALUES (?1, ?2, ?3, 'created', ?4) ON CONFLICT (name) DO NOTHING",
                params![id.as_str(), name.as_str(), json(settings)?, nanoseconds(created)],
            )?;
            if inserted == 0 {
                return Err(name_taken(transaction, name)?);
            }
            append_container(transaction, id, "create", Attributes::new())
        })
    }

    /// Gives a container another name.
    pub fn rename(&self, id: &ContainerId, name: &Name) -> Result<(), DatabaseError> {
        self.transaction(|transaction| {
            let old: Option<String> = transaction
                .query_row(
                    "SELECT name FROM container WHERE id = ?1",
                    [id.as_str()],
                    |row| row.get(0),
                )
                .optional()?;
            let renamed = transaction.execute(
                "UPDATE OR IGNORE container SET name = ?2 WHERE id = ?1",
                params![id.as_str(), name.as_str()],
            )?;
            if renamed == 0 {
                return Err(name_taken(transaction, name)?);
            }
            let old = format!("/{}", old.unwrap_or_default());
            append_container(
                transaction,
                id,
                "rename",
                attributes([("oldName", old.as_str())]),
            )
        })
    }

    /// Replaces a container's settings.
    pub fn set_settings(&self, id: &ContainerId, settings: &Settings) -> Result<(), DatabaseError> {
        self.transaction(|transaction| {
            transaction.execute(
                "UPDATE container SET settings = ?2 WHERE id = ?1",
                params![id.as_str(), json(settings)?],
            )?;
            append_container(transaction, id, "update", Attributes::new())
        })
    }

    /// Notes that a monitor begins to start the container for somebody.
    pub fn set_starting(&self, id: &ContainerId) -> Result<(), DatabaseError> {
        self.connection()?.execute(
            "UPDATE container SET state = 'starting', error = NULL, exit_code = NULL, oom_killed = 0, restart_count = 0, manually_stopped = 0 WHERE id = ?1",
            [id.as_str()],
        )?;
        Ok(())
    }

    /// Notes that the container is started once more by its policy.
    pub fn set_restart(&self, id: &ContainerId) -> Result<(), DatabaseError> {
        self.connection()?.execute(
            "UPDATE container SET state = 'starting', restart_count = restart_count + 1 WHERE id = ?1",
            [id.as_str()],
        )?;
        Ok(())
    }

    /// Notes that the container's process runs, in a microVM of this VMM.
    pub fn set_running(
        &self,
        id: &ContainerId,
        started: Timestamp,
        pid: u32,
        health: Option<&Health>,
    ) -> Result<(), DatabaseError> {
        self.transaction(|transaction| {
            let health = health.map(json).transpose()?;
            transaction.execute(
                "UPDATE container SET state = 'running', started = ?2, finished = NULL, exit_code = NULL, error = NULL, oom_killed = 0, pid = ?3, health = ?4 WHERE id = ?1",
                params![id.as_str(), nanoseconds(started), pid, health],
            )?;
            append_container(transaction, id, "start", Attributes::new())
        })
    }

    /// Notes that the container's vCPUs stand still, or that they go on.
    pub fn set_paused(&self, id: &ContainerId, paused: bool) -> Result<(), DatabaseError> {
        let (state, action) = if paused {
            (State::Paused, "pause")
        } else {
            (State::Running, "unpause")
        };
        self.transaction(|transaction| {
            transaction.execute(
                "UPDATE container SET state = ?2 WHERE id = ?1",
                [id.as_str(), state.as_str()],
            )?;
            append_container(transaction, id, action, Attributes::new())
        })
    }

    /// Notes that the container could not be started.
    pub fn set_not_started(
        &self,
        id: &ContainerId,
        exit_code: i32,
        error: &str,
    ) -> Result<(), DatabaseError> {
        self.connection()?.execute(
            // One that has run before keeps having ended.
            "UPDATE container SET state = CASE WHEN started IS NULL THEN 'created' ELSE 'exited' END, exit_code = ?2, error = ?3, pid = NULL WHERE id = ?1",
            params![id.as_str(), exit_code, error],
        )?;
        Ok(())
    }

    /// Notes that the container has ended.
    pub fn set_ended(&self, id: &ContainerId, ending: &Ending<'_>) -> Result<(), DatabaseError> {
        let finished = nanoseconds(ending.finished);
        self.transaction(|transaction| {
            let started: Option<i64> = transaction
                .query_row("SELECT started FROM container WHERE id = ?1", [id.as_str()], |row| row.get(0))
                .optional()?
                .flatten();
            transaction.execute(
                "UPDATE container SET state = ?2, finished = ?3, exit_code = ?4, error = ?5, oom_killed = ?6, pid = NULL WHERE id = ?1",
                params![id.as_str(), ending.next.as_str(), finished, ending.exit_code, ending.error, ending.oom_killed],
            )?;
            if ending.oom_killed {
                append_container(transaction, id, "oom", Attributes::new())?;
            }
            let seconds = (finished - started.unwrap_or(finished)).max(0) / 1_000_000_000;
            let (code, seconds) = (ending.exit_code.to_string(), seconds.to_string());
            let facts = attributes([("exitCode", code.as_str()), ("execDuration", seconds.as_str())]);
            append_container(transaction, id, "die", facts)
        })
    }

    /// Notes that a container which waited to be started again is not.
    pub fn set_exited(&self, id: &ContainerId) -> Result<(), DatabaseError> {
        self.connection()?.execute(
            "UPDATE container SET state = 'exited', pid = NULL WHERE id = ?1",
            [id.as_str()],
        )?;
        Ok(())
    }

    /// Notes that a signal is on its way to the container, and whether somebody stops it with that.
    pub fn set_signalled(
        &self,
        id: &ContainerId,
        signal: i32,
        stopped: bool,
    ) -> Result<(), DatabaseError> {
        self.transaction(|transaction| {
            if stopped {
                transaction.execute(
                    "UPDATE container SET manually_stopped = 1 WHERE id = ?1",
                    [id.as_str()],
                )?;
            }
            let signal = signal.to_string();
            append_container(
                transaction,
                id,
                "kill",
                attributes([("signal", signal.as_str())]),
            )
        })
    }

    /// Notes what the last health check has found, and tells when it has changed something.
    pub fn set_health(
        &self,
        id: &ContainerId,
        health: &Health,
        changed: bool,
    ) -> Result<(), DatabaseError> {
        self.transaction(|transaction| {
            transaction.execute(
                "UPDATE container SET health = ?2 WHERE id = ?1",
                params![id.as_str(), json(health)?],
            )?;
            if !changed {
                return Ok(());
            }
            let action = format!("health_status: {}", health.status.as_str());
            append_container(transaction, id, &action, Attributes::new())
        })
    }

    /// Notes that somebody removes the container, or that it could not be removed.
    pub fn set_removing(&self, id: &ContainerId, failed: bool) -> Result<(), DatabaseError> {
        let state = if failed { State::Dead } else { State::Removing };
        self.connection()?.execute(
            "UPDATE container SET state = ?2 WHERE id = ?1",
            [id.as_str(), state.as_str()],
        )?;
        Ok(())
    }

    /// Removes a container; whether there was one.
    pub fn delete(&self, id: &ContainerId) -> Result<bool, DatabaseError> {
        self.transaction(|transaction| {
            append_container(transaction, id, "destroy", Attributes::new())?;
            let deleted =
                transaction.execute("DELETE FROM container WHERE id = ?1", [id.as_str()])?;
            Ok(deleted == 1)
        })
    }
}

/// The error that says who has a name.
fn name_taken(transaction: &Transaction<'_>, name: &Name) -> Result<DatabaseError, DatabaseError> {
    let holder: Option<String> = transaction
        .query_row(
            "SELECT id FROM container WHERE name = ?1",
            [name.as_str()],
            |row| row.get(0),
        )
        .optional()?;
    Ok(DatabaseError::NameTaken {
        name: name.to_string(),
        id: holder.unwrap_or_default(),
    })
}
