//! `--log-driver` and `--log-opt`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::options::env;
use crate::options::memory::Memory;

/// Where a container's output goes, beside to those who are attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    /// To files; otherwise nowhere.
    pub to_files: bool,
    /// The size in bytes at which a file is full.
    pub max_size: Option<u64>,
    /// How many files there are, the one that is written counted.
    pub max_files: u32,
    /// The options as they were given, for `inspect`.
    pub given: BTreeMap<String, String>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            to_files: true,
            max_size: None,
            max_files: 1,
            given: BTreeMap::new(),
        }
    }
}

/// Why options are none.
#[derive(Debug, thiserror::Error)]
pub enum LogOptionError {
    /// The driver.
    #[error("logger: no log driver named '{0}' is registered: there are json-file and none")]
    Driver(String),
    /// It is not `NAME=VALUE`.
    #[error("invalid logging opt '{0}': write NAME=VALUE, such as max-size=10m")]
    Format(String),
    /// There is no such option.
    #[error("unknown log opt '{name}' for {driver} log driver")]
    Unknown {
        /// The option.
        name: String,
        /// The driver.
        driver: String,
    },
    /// An option's value.
    #[error("invalid value for log opt '{name}': {value}")]
    Value {
        /// The option.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// Files that are never full need no others.
    #[error("log opt 'max-file' needs 'max-size': a file without a limit is never full")]
    NeverFull,
}

impl LogOptions {
    /// Reads a driver's name, json-file where none is given, and its options.
    pub fn parse(driver: Option<&str>, options: &[String]) -> Result<Self, LogOptionError> {
        let driver = driver.unwrap_or(JSON_FILE);
        let mut parsed = Self {
            to_files: driver == JSON_FILE,
            ..Self::default()
        };
        if driver != JSON_FILE && driver != NONE {
            return Err(LogOptionError::Driver(driver.to_owned()));
        }
        for option in options {
            let (name, value) = option
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| LogOptionError::Format(option.clone()))?;
            if !parsed.to_files {
                return Err(unknown(name, driver));
            }
            parsed.set(name, value)?;
            parsed.given.insert(name.to_owned(), value.to_owned());
        }
        if parsed.max_files > 1 && parsed.max_size.is_none() {
            return Err(LogOptionError::NeverFull);
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), LogOptionError> {
        let invalid = |name| LogOptionError::Value {
            name,
            value: value.to_owned(),
        };
        match name {
            "max-size" => {
                let size = value.parse::<Memory>().map(Memory::bytes).unwrap_or(0);
                let size = Some(size).filter(|size| *size > 0);
                self.max_size = Some(size.ok_or_else(|| invalid("max-size"))?);
            }
            "max-file" => {
                let files = value
                    .parse()
                    .ok()
                    .filter(|files| (1..=1000).contains(files));
                self.max_files = files.ok_or_else(|| invalid("max-file"))?;
            }
            // Read where the container's log begins.
            "labels" | "env" => {}
            "compress" if value == "false" => {}
            "compress" => return Err(invalid("compress")),
            other => return Err(unknown(other, JSON_FILE)),
        }
        Ok(())
    }

    /// The driver's name.
    pub fn driver(&self) -> &'static str {
        if self.to_files { JSON_FILE } else { NONE }
    }

    /// What is noted with each line: the labels and the variables that the options `labels` and `env` name.
    pub fn details(
        &self,
        labels: &BTreeMap<String, String>,
        environment: &[String],
    ) -> BTreeMap<String, String> {
        let named = |option: &str| -> Vec<&str> {
            let list = self.given.get(option).map(String::as_str);
            list.unwrap_or_default().split(',').collect()
        };
        let labels = named("labels")
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), labels.get(name)?.clone())));
        let variables = named("env").into_iter().filter_map(|name| {
            let value = env::value(environment, name)?;
            Some((name.to_owned(), value.to_owned()))
        });
        labels.chain(variables).collect()
    }
}

const JSON_FILE: &str = "json-file";
const NONE: &str = "none";

fn unknown(name: &str, driver: &str) -> LogOptionError {
    LogOptionError::Unknown {
        name: name.to_owned(),
        driver: driver.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: Option<&str>, options: &[&str]) -> Result<LogOptions, String> {
        let options: Vec<String> = options.iter().map(|text| (*text).to_owned()).collect();
        LogOptions::parse(driver, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_given_is_checked() {
        let options = parse(None, &["max-size=10k", "max-file=3"]).expect("options");
        assert_eq!((options.max_size, options.max_files), (Some(10 << 10), 3));
        assert!(!parse(Some("none"), &[]).expect("options").to_files);
        for (driver, options) in [
            (Some("syslog"), &[][..]),
            (Some("none"), &["max-size=1k"]),
            (None, &["max-size"]),
            (None, &["max-size=0"]),
            (None, &["max-size=x"]),
            (None, &["max-size=1k", "max-file=0"]),
            (None, &["max-file=2"]),
            (None, &["compress=true"]),
            (None, &["color=red"]),
        ] {
            assert!(parse(driver, options).is_err(), "{driver:?} {options:?}");
        }
    }

    #[test]
    fn details_are_what_the_container_has() {
        let options = parse(None, &["labels=a,b", "env=X,Y"]).expect("options");
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let details = options.details(&labels, &["X=2".to_owned()]);
        let expected = [("X", "2"), ("a", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(details, BTreeMap::from(expected));
    }
}
