//! `--security-opt`: privileges that can't be gained, and the seccomp profile.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::seccomp::Profile;

/// One `--security-opt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityOption {
    /// Whether programs with set-user-id bits or capabilities gain what these give.
    NoNewPrivileges(bool),
    /// The default profile, by its Docker name.
    SeccompBuiltin,
    /// No filter.
    SeccompUnconfined,
    /// The profile in a file.
    Seccomp(PathBuf),
    /// Paths below /proc and /sys are neither hidden nor read-only.
    SystemPathsUnconfined,
    /// Without an effect: a guest has no security module that would confine the container.
    Nothing,
}

/// A text that is no such option.
#[derive(Debug, thiserror::Error)]
#[error("invalid --security-opt: \"{0}\"")]
pub struct InvalidSecurityOption(String);

impl FromStr for SecurityOption {
    type Err = InvalidSecurityOption;

    fn from_str(text: &str) -> Result<Self, InvalidSecurityOption> {
        let invalid = || InvalidSecurityOption(text.to_owned());
        // Docker still takes colons.
        let (name, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        Ok(match (name, value) {
            ("no-new-privileges", None | Some("true")) => Self::NoNewPrivileges(true),
            ("no-new-privileges", Some("false")) => Self::NoNewPrivileges(false),
            ("seccomp", Some("unconfined")) => Self::SeccompUnconfined,
            ("seccomp", Some("builtin")) => Self::SeccompBuiltin,
            ("seccomp", Some(file)) if !file.is_empty() => Self::Seccomp(file.into()),
            ("systempaths", Some("unconfined")) => Self::SystemPathsUnconfined,
            ("apparmor", Some("unconfined")) | ("label", Some("disable")) => Self::Nothing,
            _ => return Err(invalid()),
        })
    }
}

/// Which seccomp filter a container has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// [`crate::seccomp::DEFAULT`].
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile, as it was in its file.
    Profile(String),
}

/// All options together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// Nothing is gained from set-user-id bits and the like.
    pub no_new_privileges: bool,
    /// The filter.
    pub seccomp: Seccomp,
    /// Paths below /proc and /sys are neither hidden nor read-only.
    pub system_paths: bool,
}

/// Why a profile could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Its file.
    #[error("opening seccomp profile ({file}) failed")]
    Open {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its text.
    #[error("Decoding seccomp profile {file} failed")]
    Decode {
        /// The file.
        file: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Security {
    /// Reads the options, of which later ones win, and the files that they name.
    pub fn read(options: &[SecurityOption]) -> Result<Self, ProfileError> {
        let mut security = Self::default();
        for option in options {
            match option {
                SecurityOption::NoNewPrivileges(value) => security.no_new_privileges = *value,
                SecurityOption::SeccompBuiltin => security.seccomp = Seccomp::Default,
                SecurityOption::SeccompUnconfined => security.seccomp = Seccomp::Unconfined,
                SecurityOption::Seccomp(file) => {
                    let open = |source| ProfileError::Open {
                        file: file.clone(),
                        source,
                    };
                    let text = std::fs::read_to_string(file).map_err(open)?;
                    let _: Profile =
                        serde_json::from_str(&text).map_err(|source| ProfileError::Decode {
                            file: file.clone(),
                            source,
                        })?;
                    security.seccomp = Seccomp::Profile(text);
                }
                SecurityOption::SystemPathsUnconfined => security.system_paths = true,
                SecurityOption::Nothing => {}
            }
        }
        Ok(security)
    }
}
