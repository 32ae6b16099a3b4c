//! The monitor: the process that stands beside a container from its start to its end. It writes the log, serves attached clients,
//! and puts everything away when the container has ended.

mod boot;
mod clients;
mod connection;
mod log;
pub mod protocol;
mod run;
mod shared;

pub use log::{Entry, Stream};
pub use run::{Inherited, MonitorError, run};
