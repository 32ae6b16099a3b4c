//! Containers as the OCI runtime specification describes them.

pub mod bundle;
pub mod files;
pub mod guest;
pub mod process;
mod runtime;

pub use runtime::{PREPARED, SpecError, exec_process, first_process, runtime_spec};

/// The search path of a process whose image sets none.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
