//! Temporary file systems of `--tmpfs`: `PATH[:OPTION,…]`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::memory::Memory;

/// A file system in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where in the container.
    pub path: String,
    /// Its mount options.
    pub options: Vec<String>,
}

/// A text that is no such file system.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTmpfs {
    /// The path is not absolute, or the root.
    #[error("invalid mount path: '{0}' mount path must be absolute, and not the root")]
    Path(String),
    /// An option that a tmpfs does not have.
    #[error("invalid tmpfs option: '{0}'")]
    Option(String),
}

/// What a tmpfs has unless it is told otherwise, as Docker's.
const DEFAULT: [&str; 3] = ["noexec", "nosuid", "nodev"];

const FLAGS: [&str; 24] = [
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "remount",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "private",
    "rprivate",
];

const VALUES: [&str; 6] = ["mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];

impl Tmpfs {
    /// The options without those that every one has.
    pub fn given(&self) -> String {
        let own = self
            .options
            .strip_prefix(DEFAULT.map(str::to_owned).as_slice());
        own.unwrap_or(&self.options).join(",")
    }
}

impl FromStr for Tmpfs {
    type Err = InvalidTmpfs;

    fn from_str(text: &str) -> Result<Self, InvalidTmpfs> {
        let (path, given) = text.split_once(':').unwrap_or((text, ""));
        if !path.starts_with('/') || path.split('/').all(|part| matches!(part, "" | "." | "..")) {
            return Err(InvalidTmpfs::Path(path.to_owned()));
        }
        let mut options: Vec<String> = DEFAULT.map(str::to_owned).to_vec();
        for option in given.split(',').filter(|option| !option.is_empty()) {
            let invalid = || InvalidTmpfs::Option(option.to_owned());
            options.push(match option.split_once('=') {
                None if FLAGS.contains(&option) && option != "remount" => option.to_owned(),
                Some(("size", size)) if size.ends_with('%') => option.to_owned(),
                // The kernel's units are not all of Docker's.
                Some(("size", size)) => {
                    let size: Memory = size.parse().map_err(|_| invalid())?;
                    format!("size={}", size.bytes())
                }
                Some((name, _)) if VALUES.contains(&name) => option.to_owned(),
                _ => return Err(invalid()),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            options,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_follow_the_default_ones() {
        let tmpfs: Tmpfs = "/run:exec,size=64m,mode=1770".parse().expect("a tmpfs");
        assert_eq!(tmpfs.path, "/run");
        assert_eq!(
            tmpfs.options.join(","),
            "noexec,nosuid,nodev,exec,size=67108864,mode=1770"
        );
        assert_eq!(tmpfs.given(), "exec,size=67108864,mode=1770");
        assert!("/run".parse::<Tmpfs>().is_ok());
        for bad in [
            "run",
            "/",
            "/..",
            "/run:size=x",
            "/run:nope",
            "/run:mode",
            "/run:remount",
        ] {
            assert!(bad.parse::<Tmpfs>().is_err(), "{bad}");
        }
    }
}
