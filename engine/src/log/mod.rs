//! A container's log in Docker's json-file format: one JSON object for each line of output, in one file or in several that take turns.

mod files;
mod options;
mod reader;
mod tail;
mod writer;

pub use options::{LogOptionError, LogOptions};
pub use reader::{LogError, LogQuery, Logs};
pub use writer::Log;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One of a container's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// A line with its line break, or a piece of one. What is not UTF-8 is replaced.
    pub log: String,
    /// Where it was written.
    pub stream: Stream,
    /// What else was to be noted with each line.
    #[serde(default, rename = "attrs", skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// When it was received, as RFC 3339 has it.
    pub time: String,
}
