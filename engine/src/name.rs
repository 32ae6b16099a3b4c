//! Container names: what is allowed, and random ones.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A container's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that is not allowed as a name.
#[derive(Debug, thiserror::Error)]
#[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
pub struct InvalidName(String);

impl Name {
    /// A random name, an adjective and the name of someone who has earned it.
    pub fn random() -> rustix::io::Result<Self> {
        let adjective = ADJECTIVES[crate::random::below(ADJECTIVES.len())?];
        let noun = NOUNS[crate::random::below(NOUNS.len())?];
        Ok(Self(format!("{adjective}_{noun}")))
    }

    /// This name with a number behind it, for when the name itself is taken.
    pub fn numbered(&self, number: usize) -> Self {
        Self(format!("{}{number}", self.0))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        // Docker shows names with a leading slash in its API, and takes them so.
        let name = text.strip_prefix('/').unwrap_or(&text);
        let mut bytes = name.bytes();
        let first = bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = name.len() >= 2
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if first && rest {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidName(text))
        }
    }
}

impl std::str::FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::try_from(text.to_owned())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const ADJECTIVES: [&str; 48] = [
    "able", "amber", "bold", "brave", "bright", "brisk", "calm", "clever", "crisp", "curious",
    "daring", "eager", "early", "fair", "fond", "frank", "gentle", "glad", "golden", "grand",
    "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "lucid", "mellow",
    "merry", "modest", "neat", "noble", "patient", "plucky", "polite", "proud", "quick", "quiet",
    "sharp", "silver", "steady", "sunny", "swift", "tidy", "warm", "witty",
];

const NOUNS: [&str; 48] = [
    "ampere",
    "babbage",
    "backus",
    "banach",
    "boole",
    "cerf",
    "curie",
    "darwin",
    "dijkstra",
    "einstein",
    "engelbart",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "feynman",
    "floyd",
    "galileo",
    "gauss",
    "germain",
    "goedel",
    "goodall",
    "hamilton",
    "hertz",
    "hopper",
    "kepler",
    "knuth",
    "lamport",
    "leibniz",
    "liskov",
    "lovelace",
    "maxwell",
    "mccarthy",
    "meitner",
    "mirzakhani",
    "newton",
    "noether",
    "pascal",
    "perlman",
    "planck",
    "ramanujan",
    "ritchie",
    "shannon",
    "thompson",
    "torvalds",
    "turing",
    "wiles",
    "wirth",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["web", "a1", "A.b_c-9", "/web"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "a", "-web", ".web", "we b", "wé", "a/b", "/"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn random_names_are_valid() {
        for _ in 0..100 {
            let name = Name::random().expect("random bytes");
            assert!(name.as_str().parse::<Name>().is_ok(), "{name}");
        }
    }
}
