//! A container's health: what its checks have found.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many results are kept.
pub const LOG_LENGTH: usize = 5;

/// The most of a check's output that is kept, in bytes.
pub const OUTPUT_LIMIT: usize = 4096;

/// What the checks of a container have found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// What follows from them.
    pub status: Status,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last results, the oldest first.
    pub log: VecDeque<Probe>,
}

/// What follows from the checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No check has succeeded yet.
    #[default]
    Starting,
    /// The last one has succeeded, or too few in a row have failed since.
    Healthy,
    /// Too many in a row have failed.
    Unhealthy,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Probe {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// The exit code; 0 is healthy, -1 says that it was not carried out to its end.
    pub exit_code: i32,
    /// What it has written.
    pub output: String,
}

impl Status {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl Health {
    /// Takes a result in; whether the status has changed. Failures in the start period do not count.
    pub fn note(&mut self, probe: Probe, retries: u32, in_start_period: bool) -> bool {
        let before = self.status;
        if probe.exit_code == 0 {
            self.failing_streak = 0;
            self.status = Status::Healthy;
        } else if !(in_start_period && before == Status::Starting) {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= retries {
                self.status = Status::Unhealthy;
            }
        }
        self.log.push_back(probe);
        while self.log.len() > LOG_LENGTH {
            self.log.pop_front();
        }
        self.status != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_make_unhealthy() {
        let probe = |exit_code| Probe {
            start: Timestamp::UNIX_EPOCH,
            end: Timestamp::UNIX_EPOCH,
            exit_code,
            output: String::new(),
        };
        let mut health = Health::default();
        assert!(!health.note(probe(1), 2, true), "the start period");
        assert_eq!(health.failing_streak, 0);
        assert!(!health.note(probe(1), 2, false));
        assert!(health.note(probe(-1), 2, false));
        assert_eq!(health.status, Status::Unhealthy);
        assert!(health.note(probe(0), 2, false));
        assert_eq!((health.status, health.failing_streak), (Status::Healthy, 0));
        assert!(
            !health.note(probe(1), 2, true),
            "has been healthy: it counts"
        );
        assert_eq!(health.failing_streak, 1);
        assert!(!health.note(probe(0), 2, false));
        assert_eq!(health.log.len(), LOG_LENGTH);
        assert_eq!(serde_json::json!(health)["Status"], "healthy");
    }
}
