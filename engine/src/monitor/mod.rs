//! The monitor: the process that stands beside a container from its start to its end. It writes the log, serves attached clients,
//! starts the container again if its policy says so, and puts everything away when it has ended.

mod boot;
mod checkpoint;
mod clients;
mod connection;
mod guest;
mod health;
mod limit;
mod output;
mod pause;
pub mod protocol;
mod restart;
mod run;
mod sandboxed;
mod seat;
mod shared;
mod stopped;

pub use boot::{BootError, make_templates};
pub use run::{Inherited, MonitorError, run};
pub use stopped::StoppedGuest;
