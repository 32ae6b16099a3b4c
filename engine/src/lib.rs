//! Containers from create to remove: their state, their monitors, logs and networks, and the microVMs they run in.
//!
//! [`Engine`] is what front ends use: the command line, and later servers of other interfaces.

pub mod container;
pub mod error;
pub mod host;
pub mod id;
pub mod image;
pub mod image_inspect;
pub mod image_removal;
pub mod inspect;
pub mod lifecycle;
pub mod lock;
pub mod microvm;
pub mod monitor;
pub mod name;
pub mod network;
pub mod options;
pub mod prune;
pub mod root;
pub mod session;
pub mod spec;
pub mod state;
pub mod usage;

mod monitor_client;
mod put_away;
mod random;

pub use lifecycle::Engine;
