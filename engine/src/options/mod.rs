//! Values as Docker's command line writes them, parsed into types.

pub mod capability;
pub mod cpus;
pub mod env;
pub mod guest;
pub mod health;
pub mod host;
pub mod isolation;
pub mod label;
pub mod limits;
pub mod mac;
pub mod memory;
pub mod moment;
pub mod oci_runtime;
pub mod port;
pub mod restart;
pub mod security;
pub mod signal;
pub mod tmpfs;
pub mod ulimit;
