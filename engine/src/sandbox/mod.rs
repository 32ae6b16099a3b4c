//! A container's sandbox on the host, for `--isolation container`: namespaces, and in them the agent that a guest would have.

mod clean_up;
mod launch;

pub use clean_up::clean_up;
pub use launch::{Plan, Sandbox, SandboxError};

use std::path::PathBuf;

use crate::id::ContainerId;

/// The control group of a container, in every hierarchy.
pub fn cgroup(id: &ContainerId) -> PathBuf {
    PathBuf::from(format!("/rvm/{id}"))
}
