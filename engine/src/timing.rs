//! When the stages of a run are reached: `rvm run --timing`.
//!
//! The clock is the monotonic one, which all processes of a run share; so each process notes its own stages, and the
//! monitor sends its notes along with the container's end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A stage, and when it was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What had been done, in a few words.
    pub stage: String,
    /// The time of the monotonic clock.
    pub at: Duration,
}

static MARKS: Mutex<Vec<Mark>> = Mutex::new(Vec::new());

/// Notes that `stage` is reached now.
pub fn mark(stage: &str) {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    add(vec![Mark {
        stage: stage.to_owned(),
        at: Duration::new(now.tv_sec as u64, now.tv_nsec as u32),
    }]);
}

/// Adds what another process has noted.
pub fn add(more: Vec<Mark>) {
    let mut marks = MARKS.lock().unwrap_or_else(PoisonError::into_inner);
    marks.extend(more);
}

/// The stages noted since the last time, in the order of time.
pub fn take() -> Vec<Mark> {
    let mut marks = std::mem::take(&mut *MARKS.lock().unwrap_or_else(PoisonError::into_inner));
    marks.sort_by_key(|mark| mark.at);
    marks
}
