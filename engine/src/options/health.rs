//! How a container's health is checked: `--health-cmd` and its like, and an image's HEALTHCHECK.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The shortest of all its times but 0, which stands for the default.
pub const SHORTEST: Duration = Duration::from_millis(1);

/// A check of a container's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Docker's form: `CMD` and a program with its arguments, or `CMD-SHELL` and a text for a shell.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// At the container's start, during which failures do not count.
    pub start_period: Duration,
    /// Between two checks in the start period.
    pub start_interval: Duration,
    /// Failures in a row that make a container unhealthy.
    pub retries: u32,
}

/// The parts of a check that somebody has given: in an image's configuration, where they have Docker's names, or on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Parts {
    /// As [`HealthCheck::test`]; `NONE` alone for no check.
    pub test: Vec<String>,
    /// In nanoseconds, as the others.
    pub interval: Option<u64>,
    /// For one check.
    pub timeout: Option<u64>,
    /// At the start.
    pub start_period: Option<u64>,
    /// Between two checks at the start.
    pub start_interval: Option<u64>,
    /// Failures in a row.
    pub retries: Option<u32>,
}

impl Parts {
    /// No check, whatever the image says.
    pub fn none() -> Self {
        Self {
            test: vec!["NONE".to_owned()],
            ..Self::default()
        }
    }

    /// A check by a shell.
    pub fn shell(command: String) -> Vec<String> {
        vec!["CMD-SHELL".to_owned(), command]
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The check that comes of these parts above those of the image; `None` when there is nothing to check.
    pub fn above(&self, image: Option<&Self>) -> Option<HealthCheck> {
        let empty = Self::default();
        let image = image.unwrap_or(&empty);
        let test = if self.test.is_empty() {
            &image.test
        } else {
            &self.test
        };
        if test.len() < 2 {
            return None;
        }
        let time = |ours: Option<u64>, images: Option<u64>, default| {
            let given = ours.or(images).filter(|time| *time > 0);
            given.map_or(default, Duration::from_nanos)
        };
        Some(HealthCheck {
            test: test.clone(),
            interval: time(self.interval, image.interval, Duration::from_secs(30)),
            timeout: time(self.timeout, image.timeout, Duration::from_secs(30)),
            start_period: time(self.start_period, image.start_period, Duration::ZERO),
            start_interval: time(
                self.start_interval,
                image.start_interval,
                Duration::from_secs(5),
            ),
            retries: self
                .retries
                .or(image.retries)
                .filter(|retries| *retries > 0)
                .unwrap_or(3),
        })
    }
}

impl HealthCheck {
    /// The program that checks, and its arguments.
    pub fn command(&self) -> Vec<String> {
        match self.test.split_first() {
            Some((kind, rest)) if kind == "CMD-SHELL" => ["/bin/sh", "-c"]
                .map(str::to_owned)
                .into_iter()
                .chain(rest.iter().cloned())
                .collect(),
            Some((_, rest)) => rest.to_vec(),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_says_stands_above_the_image() {
        let image: Parts = serde_json::from_str(
            r#"{"Test":["CMD","check"],"Interval":5000000000,"Retries":2,"StartPeriod":0}"#,
        )
        .expect("parts");
        let check = Parts::default().above(Some(&image)).expect("a check");
        assert_eq!(check.command(), ["check"]);
        assert_eq!(check.interval, Duration::from_secs(5));
        assert_eq!((check.timeout, check.retries), (Duration::from_secs(30), 2));
        let user = Parts {
            test: Parts::shell("exit 0".to_owned()),
            retries: Some(7),
            ..Parts::default()
        };
        let check = user.above(Some(&image)).expect("a check");
        assert_eq!(check.command(), ["/bin/sh", "-c", "exit 0"]);
        assert_eq!((check.interval, check.retries), (Duration::from_secs(5), 7));
        assert_eq!(Parts::none().above(Some(&image)), None);
        assert_eq!(Parts::default().above(None), None);
    }
}
