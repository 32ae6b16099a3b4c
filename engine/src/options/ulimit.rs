//! Limits of `--ulimit`: `nofile=1024:2048`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The names of setrlimit(2), in Docker's form.
const NAMES: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// A limit on what a process may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Its name, such as `nofile`.
    pub name: String,
    /// What holds; `u64::MAX` is no limit.
    pub soft: u64,
    /// How far the process itself may raise it.
    pub hard: u64,
}

/// A text that is no limit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUlimit {
    /// No name and value.
    #[error("invalid ulimit argument: {0}")]
    Argument(String),
    /// No such limit.
    #[error("invalid ulimit type: {0}")]
    Name(String),
    /// More than a soft and a hard value.
    #[error("too many limit value arguments - {0}, can only have up to two, `soft[:hard]`")]
    TooMany(String),
    /// The values are in the wrong order.
    #[error("ulimit soft limit must be less than or equal to hard limit: {0} > {1}")]
    Order(String, String),
}

impl FromStr for Ulimit {
    type Err = InvalidUlimit;

    fn from_str(text: &str) -> Result<Self, InvalidUlimit> {
        let argument = || InvalidUlimit::Argument(text.to_owned());
        let (name, values) = text.split_once('=').ok_or_else(argument)?;
        if !NAMES.contains(&name) {
            return Err(InvalidUlimit::Name(name.to_owned()));
        }
        let parse = |value: &str| match value {
            "-1" => Ok(u64::MAX),
            value => value.parse().map_err(|_| argument()),
        };
        let values: Vec<_> = values.split(':').collect();
        let (soft, hard) = match values.as_slice() {
            [both] => (both, both),
            [soft, hard] => (soft, hard),
            _ => return Err(InvalidUlimit::TooMany(values.join(":"))),
        };
        let limit = Self {
            name: name.to_owned(),
            soft: parse(soft)?,
            hard: parse(hard)?,
        };
        if limit.soft > limit.hard {
            return Err(InvalidUlimit::Order((*soft).to_owned(), (*hard).to_owned()));
        }
        Ok(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        let limit = |text: &str| text.parse::<Ulimit>().map(|l| (l.name, l.soft, l.hard));
        assert_eq!(limit("nofile=10:20"), Ok(("nofile".into(), 10, 20)));
        assert_eq!(limit("core=0"), Ok(("core".into(), 0, 0)));
        assert_eq!(limit("stack=1:-1"), Ok(("stack".into(), 1, u64::MAX)));
        assert_eq!(
            limit("nofile"),
            Err(InvalidUlimit::Argument("nofile".into()))
        );
        assert_eq!(limit("files=1"), Err(InvalidUlimit::Name("files".into())));
        for bad in [
            "nofile=a",
            "nofile=1:2:3",
            "nofile=2:1",
            "nofile=-1:5",
            "nofile=",
        ] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
