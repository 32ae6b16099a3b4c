//! A container's id: 64 hexadecimal digits, as Docker's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The id of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// The text is not an id.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a container's id: it needs 64 hexadecimal digits")]
pub struct InvalidId(String);

impl ContainerId {
    /// Length of the full id, in digits.
    pub const LENGTH: usize = 64;
    /// Length of the id that tables show and that a host name is made of, in digits.
    pub const SHORT_LENGTH: usize = 12;

    /// A new random id. One whose short form is a decimal number is not used: it would be no valid host name for some programs.
    pub fn random() -> rustix::io::Result<Self> {
        loop {
            let mut bytes = [0; Self::LENGTH / 2];
            crate::random::fill(&mut bytes)?;
            let id = Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
            if id.short().bytes().any(|digit| !digit.is_ascii_digit()) {
                return Ok(id);
            }
        }
    }

    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits.
    pub fn short(&self) -> &str {
        &self.0[..Self::SHORT_LENGTH]
    }
}

impl TryFrom<String> for ContainerId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let digits = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits && text.len() == Self::LENGTH {
            Ok(Self(text))
        } else {
            Err(InvalidId(text))
        }
    }
}

impl std::str::FromStr for ContainerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::try_from(text.to_owned())
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
