//! Pulling from and pushing to registries: Debian's `docker-registry`, and a misbehaving one of ours.
#![allow(missing_docs, clippy::unwrap_used)]

mod access;
mod certificate;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod faulty;
mod fixed;
mod killed;
mod places;
mod platforms;
mod proxy;
mod real;
mod round_trip;
mod user;
