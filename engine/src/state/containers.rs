//! Containers in the database.

use jiff::Timestamp;
use rusqlite::Row;

use super::{Database, DatabaseError};
use crate::container::{Container, State};
use crate::id::ContainerId;
use crate::network::Endpoint;

/// What a user's reference stands for.
#[derive(Debug)]
pub enum Found {
    /// One container.
    One(Box<Container>),
    /// None.
    Nothing,
    /// Several whose ids begin so.
    Several,
}

const COLUMNS: &str = "id, name, settings, state, created, started, finished, exit_code, error, endpoint, pid, restart_count, manually_stopped, oom_killed, health";

impl Database {
    /// The container of that id.
    pub fn get(&self, id: &ContainerId) -> Result<Option<Container>, DatabaseError> {
        let rows = self.select("WHERE id = ?1", [id.as_str()])?;
        Ok(rows.into_iter().next())
    }

    /// Finds a container by its id, its name, or the beginning of its id, in this order.
    pub fn find(&self, reference: &str) -> Result<Found, DatabaseError> {
        let name = reference.strip_prefix('/').unwrap_or(reference);
        let exact = self.select(
            "WHERE id = ?1 OR name = ?2 ORDER BY id = ?1 DESC",
            [reference, name],
        )?;
        if let Some(container) = exact.into_iter().next() {
            return Ok(Found::One(Box::new(container)));
        }
        if reference.is_empty() || !reference.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Found::Nothing);
        }
        let mut begin = self.select("WHERE id GLOB ?1 || '*' LIMIT 2", [reference])?;
        Ok(match (begin.pop(), begin.pop()) {
            (Some(container), None) => Found::One(Box::new(container)),
            (None, _) => Found::Nothing,
            _ => Found::Several,
        })
    }

    /// All containers, the newest first.
    pub fn containers(&self) -> Result<Vec<Container>, DatabaseError> {
        self.select("ORDER BY created DESC, id", [])
    }

    /// The containers that somebody should have in hand: a monitor, or a command that removes them.
    pub fn in_hand(&self) -> Result<Vec<Container>, DatabaseError> {
        self.select(
            "WHERE state IN ('starting', 'running', 'paused', 'restarting', 'removing')",
            [],
        )
    }

    /// The ids of all containers.
    pub fn ids(&self) -> Result<Vec<String>, DatabaseError> {
        let mut statement = self.connection()?.prepare("SELECT id FROM container")?;
        let ids = statement
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(ids)
    }

    fn select(
        &self,
        rest: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<Vec<Container>, DatabaseError> {
        let mut statement = self
            .connection()?
            .prepare(&format!("SELECT {COLUMNS} FROM container {rest}"))?;
        let mut rows = statement.query(parameters)?;
        let mut containers = Vec::new();
        while let Some(row) = rows.next()? {
            containers.push(container(row)?);
        }
        Ok(containers)
    }
}

fn container(row: &Row<'_>) -> Result<Container, DatabaseError> {
    let content = |what, text: String| DatabaseError::Content { what, text };
    let id: String = row.get("id")?;
    let name: String = row.get("name")?;
    let settings: String = row.get("settings")?;
    let state: String = row.get("state")?;
    let endpoint: Option<String> = row.get("endpoint")?;
    let endpoint: Option<Endpoint> = match endpoint {
        Some(text) => {
            Some(serde_json::from_str(&text).map_err(|_| content("network endpoint", text))?)
        }
        None => None,
    };
    let health: Option<String> = row.get("health")?;
    let health = match health {
        Some(text) => {
            Some(serde_json::from_str(&text).map_err(|_| content("container's health", text))?)
        }
        None => None,
    };
    Ok(Container {
        id: id.parse().map_err(|_| content("container id", id))?,
        name: name.parse().map_err(|_| content("container name", name))?,
        settings: serde_json::from_str(&settings)
            .map_err(|_| content("container's settings", settings))?,
        state: State::parse(&state).ok_or_else(|| content("state", state))?,
        created: timestamp(row.get("created")?)?,
        started: row
            .get::<_, Option<i64>>("started")?
            .map(timestamp)
            .transpose()?,
        finished: row
            .get::<_, Option<i64>>("finished")?
            .map(timestamp)
            .transpose()?,
        exit_code: row.get("exit_code")?,
        error: row.get("error")?,
        endpoint,
        pid: row.get("pid")?,
        restart_count: row.get("restart_count")?,
        manually_stopped: row.get("manually_stopped")?,
        oom_killed: row.get("oom_killed")?,
        health,
    })
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<String, DatabaseError> {
    serde_json::to_string(value).map_err(|error| DatabaseError::Content {
        what: "value",
        text: error.to_string(),
    })
}

/// SQLite's integers hold the nanoseconds until the year 2262.
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

pub(super) fn timestamp(nanoseconds: i64) -> Result<Timestamp, DatabaseError> {
    Timestamp::from_nanosecond(nanoseconds.into()).map_err(|error| DatabaseError::Content {
        what: "time",
        text: error.to_string(),
    })
}
