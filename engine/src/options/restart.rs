//! When a container is started again: `--restart`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// When a container that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// After an exit code other than 0, so many times in a row at most.
    OnFailure(Option<u32>),
    /// Whenever it has ended, and after a restart of the host.
    Always,
    /// As `always`, except that a container that was stopped stays so after a restart of the host.
    UnlessStopped,
}

/// A text that is no policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// Its name is unknown.
    #[error(
        "invalid restart policy: unknown policy '{0}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    )]
    Name(String),
    /// Retries where they mean nothing.
    #[error("invalid restart policy: maximum retry count can only be used with 'on-failure'")]
    Retries,
    /// The number is none.
    #[error("invalid restart policy format: maximum retry count must be an integer")]
    Number,
}

impl RestartPolicy {
    /// Its name, without the number of retries.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure(_) => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// The number of retries; 0 where there is no limit.
    pub fn retries(self) -> u32 {
        match self {
            Self::OnFailure(retries) => retries.unwrap_or(0),
            _ => 0,
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidPolicy> {
        let (name, retries) = match text.split_once(':') {
            Some((name, number)) => {
                let number = number.parse().map_err(|_| InvalidPolicy::Number)?;
                (name, Some(number))
            }
            None => (text, None),
        };
        let policy = match name {
            "" | "no" => Self::No,
            "on-failure" => return Ok(Self::OnFailure(retries.filter(|number| *number > 0))),
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            _ => return Err(InvalidPolicy::Name(name.to_owned())),
        };
        match retries {
            None => Ok(policy),
            Some(_) => Err(InvalidPolicy::Retries),
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure(Some(retries)) => write!(f, "on-failure:{retries}"),
            other => f.write_str(other.name()),
        }
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = InvalidPolicy;

    fn try_from(text: String) -> Result<Self, InvalidPolicy> {
        text.parse()
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> Self {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_dockers() {
        for text in [
            "no",
            "always",
            "unless-stopped",
            "on-failure",
            "on-failure:3",
        ] {
            assert_eq!(text.parse::<RestartPolicy>().expect(text).to_string(), text);
        }
        assert_eq!("".parse(), Ok(RestartPolicy::No));
        assert_eq!("on-failure:0".parse(), Ok(RestartPolicy::OnFailure(None)));
        for bad in [
            "sometimes",
            "always:3",
            "no:1",
            "on-failure:x",
            "on-failure:-1",
        ] {
            assert!(bad.parse::<RestartPolicy>().is_err(), "{bad}");
        }
    }
}
