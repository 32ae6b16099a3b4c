//! Events in the database: written with the change that they tell, numbered in the order of the changes.

use std::fs::File;
use std::io::Write;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};

use super::containers::{json, nanoseconds, timestamp};
use super::{Database, DatabaseError};
use crate::container::Settings;
use crate::event::{Attributes, Event, Kind, NewEvent};
use crate::id::ContainerId;

/// How many events are kept for `--since`.
const KEPT: i64 = 10_000;

impl Database {
    /// Records an event that tells no change of the database.
    pub fn record(&self, event: &NewEvent) -> Result<(), DatabaseError> {
        self.transaction(|transaction| append(transaction, event))
    }

    /// Records an event of a container.
    pub fn record_container(
        &self,
        id: &ContainerId,
        action: &str,
        more: Attributes,
    ) -> Result<(), DatabaseError> {
        self.transaction(|transaction| append_container(transaction, id, action, more))
    }

    /// The events behind the number `after`, in their order, `limit` at most.
    pub fn events(&self, after: i64, limit: usize) -> Result<Vec<Event>, DatabaseError> {
        let mut statement = self.connection()?.prepare_cached(
            "SELECT number, time, kind, action, actor, attributes FROM event WHERE number > ?1 ORDER BY number LIMIT ?2",
        )?;
        let mut rows = statement.query(params![after, limit as i64])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            let (kind, attributes): (String, String) = (row.get("kind")?, row.get("attributes")?);
            let content = |what, text: String| DatabaseError::Content { what, text };
            events.push(Event {
                number: row.get("number")?,
                time: timestamp(row.get("time")?)?,
                what: NewEvent {
                    kind: Kind::parse(&kind).ok_or_else(|| content("kind of event", kind))?,
                    action: row.get("action")?,
                    actor: row.get("actor")?,
                    attributes: serde_json::from_str(&attributes)
                        .map_err(|_| content("list of attributes", attributes))?,
                },
            });
        }
        Ok(events)
    }

    /// The number of the last event.
    pub fn last_event(&self) -> Result<i64, DatabaseError> {
        Ok(self.connection()?.query_row(
            "SELECT coalesce(max(number), 0) FROM event",
            [],
            |row| row.get(0),
        )?)
    }

    /// Makes changes and records their events, all or nothing; then those who follow the events are told.
    pub(super) fn transaction<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let transaction =
            Transaction::new_unchecked(self.connection()?, TransactionBehavior::Immediate)?;
        let result = change(&transaction)?;
        transaction.commit()?;
        self.tell();
        Ok(result)
    }

    /// Writes to the file that followers watch. The database's own files do not do: they are written before a commit can be seen.
    pub(super) fn tell(&self) {
        let told = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.bell)
            .and_then(|mut bell| bell.write_all(b"\n"));
        if let Err(error) = told {
            tracing::debug!(%error, "those who follow the events are not told");
        }
    }
}

/// Records an event as a part of a transaction.
pub(super) fn append(transaction: &Transaction<'_>, event: &NewEvent) -> Result<(), DatabaseError> {
    let last: Option<i64> = transaction
        .prepare_cached("SELECT time FROM event ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    // Clocks are set back at times; the order of events is not.
    let time = nanoseconds(Timestamp::now()).max(last.unwrap_or(0));
    transaction
        .prepare_cached(
            "INSERT INTO event (time, kind, action, actor, attributes) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            time,
            event.kind.as_str(),
            event.action,
            event.actor,
            json(&event.attributes)?
        ])?;
    transaction
        .prepare_cached("DELETE FROM event WHERE number <= ?1")?
        .execute([transaction.last_insert_rowid() - KEPT])?;
    Ok(())
}

/// Records an event of a container that is in the database: with its name, its image and its labels.
pub(super) fn append_container(
    transaction: &Transaction<'_>,
    id: &ContainerId,
    action: &str,
    more: Attributes,
) -> Result<(), DatabaseError> {
    let row: Option<(String, String)> = transaction
        .prepare_cached("SELECT name, settings FROM container WHERE id = ?1")?
        .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((name, settings)) = row else {
        return Ok(());
    };
    let settings: Settings =
        serde_json::from_str(&settings).map_err(|_| DatabaseError::Content {
            what: "container's settings",
            text: settings,
        })?;
    let mut attributes: Attributes = settings.labels;
    attributes.insert("image".to_owned(), settings.image);
    attributes.insert("name".to_owned(), name);
    attributes.extend(more);
    append(
        transaction,
        &NewEvent {
            kind: Kind::Container,
            action: action.to_owned(),
            actor: id.to_string(),
            attributes,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_in_their_order_and_the_oldest_go() {
        let folder = tempfile::tempdir().expect("folder");
        let database = Database::open(&folder.path().join("db")).expect("database");
        for number in 0..3 {
            let event = NewEvent::image("pull", &number.to_string(), "x", Attributes::new());
            database.record(&event).expect("record");
        }
        let all = database.events(0, 10).expect("events");
        let actors: Vec<&str> = all.iter().map(|event| event.what.actor.as_str()).collect();
        assert_eq!(actors, ["0", "1", "2"]);
        assert!(all.is_sorted_by_key(|event| (event.number, event.time)));
        assert_eq!(database.last_event().expect("last"), all[2].number);
        assert_eq!(
            database.events(all[0].number, 1).expect("events"),
            all[1..2]
        );
        database
            .connection()
            .expect("open")
            .execute("UPDATE sqlite_sequence SET seq = seq + ?1", [KEPT])
            .expect("numbers");
        database
            .record(&NewEvent::image("tag", "3", "x", Attributes::new()))
            .expect("record");
        assert_eq!(database.events(0, 10).expect("events").len(), 1);
    }
}
