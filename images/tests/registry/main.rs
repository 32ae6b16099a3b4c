//! Pulling from and pushing to registries: Debian's `docker-registry`, and a misbehaving one of ours.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod faulty;
mod killed;
mod real;
mod round_trip;
