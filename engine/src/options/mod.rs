//! Values as Docker's command line writes them, parsed into types.

pub mod cpus;
pub mod env;
pub mod memory;
pub mod moment;
pub mod port;
pub mod signal;
