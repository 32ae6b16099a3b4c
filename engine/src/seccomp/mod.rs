//! Seccomp: profiles in Docker's JSON form, and the BPF programs that they become.
//!
//! A program is made on the host and installed by the guest's agent. Its size and shape matter: the kernel checks it, translates
//! it, and walks through it once for each system call to find those that are always allowed, and where ring 0 is emulated each
//! step is paid a thousandfold. So runs of system calls that are treated alike are found by halving, instead of comparing one
//! number after another.

mod compile;
mod profile;
mod syscalls;

pub use compile::{CompileError, compile};
pub use profile::Profile;

/// The profile of containers that don't ask for another: what Docker's allows on x86-64.
pub const DEFAULT: &str = include_str!("default.json");
