//! What stands between a container and the host: `--isolation`.

use std::str::FromStr;

use rvm_agent_protocol::NETWORK_PARAMETERS;
use serde::{Deserialize, Serialize};

/// The variable that says what a container gets that doesn't say.
pub const VARIABLE: &str = "RVM_ISOLATION";

/// What a container runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A microVM with a kernel of its own.
    #[default]
    Vm,
    /// Namespaces of the host, whose kernel it shares.
    Container,
}

/// A text that names no isolation.
#[derive(Debug, thiserror::Error)]
#[error("invalid isolation '{0}': there are vm and container")]
pub struct InvalidIsolation(String);

impl Isolation {
    /// What [`VARIABLE`] says, or else a microVM.
    pub fn of_environment() -> Result<Self, InvalidIsolation> {
        match std::env::var_os(VARIABLE) {
            Some(text) if !text.is_empty() => text.to_string_lossy().parse(),
            _ => Ok(Self::default()),
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Container => "container",
        }
    }
}

impl FromStr for Isolation {
    type Err = InvalidIsolation;

    fn from_str(text: &str) -> Result<Self, InvalidIsolation> {
        match text {
            "vm" => Ok(Self::Vm),
            "container" => Ok(Self::Container),
            _ => Err(InvalidIsolation(text.to_owned())),
        }
    }
}

/// Whether a kernel parameter is a container's own although the kernel is the host's: those of its network and of its System V and
/// POSIX message queues, semaphores and shared memory.
pub fn is_own_parameter(name: &str) -> bool {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    name.starts_with(NETWORK_PARAMETERS) || name.starts_with("fs.mqueue.") || IPC.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for isolation in [Isolation::Vm, Isolation::Container] {
            assert_eq!(
                isolation.as_str().parse::<Isolation>().expect("a word"),
                isolation
            );
        }
        assert!("hyperv".parse::<Isolation>().is_err());
    }

    #[test]
    fn parameters_of_the_host_are_told_from_a_containers_own() {
        for own in ["net.core.somaxconn", "kernel.sem", "fs.mqueue.msg_max"] {
            assert!(is_own_parameter(own), "{own}");
        }
        for foreign in ["kernel.panic", "vm.swappiness", "fs.file-max", "net"] {
            assert!(!is_own_parameter(foreign), "{foreign}");
        }
    }
}
