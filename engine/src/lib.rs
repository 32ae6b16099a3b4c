//! Containers from create to remove: their state, their monitors, logs and networks, and the microVMs they run in.
//!
//! [`Engine`] is what front ends use: the command line, and later servers of other interfaces.

pub mod checkpoint;
pub mod container;
pub mod disk;
pub mod error;
pub mod event;
pub mod health;
pub mod host;
pub mod id;
pub mod image;
pub mod image_inspect;
pub mod image_removal;
pub mod inspect;
pub mod lifecycle;
pub mod listing;
pub mod lock;
pub mod log;
pub mod microvm;
pub mod monitor;
pub mod name;
pub mod network;
pub mod options;
pub mod processes;
pub mod prune;
pub mod root;
pub mod rootless;
pub mod sandbox;
pub mod seccomp;
pub mod session;
pub mod snapshot;
pub mod spec;
pub mod state;
pub mod stats;
pub mod template;
pub mod timing;
pub mod usage;
pub mod words;

mod enclosure;
mod exec_events;
mod monitor_client;
mod put_away;
mod random;

pub use lifecycle::Engine;
