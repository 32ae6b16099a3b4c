//! A virtual machine monitor for KVM: guest memory, boot, vCPUs, and the buses its devices are on.
//!
//! The process that runs it, `rvm-vmm`, is given one JSON document, [`config::Config`], and every file, socket, tap and memory
//! object as an open descriptor, and opens nothing itself. It tells its parent what happens, and is told what to do, by the
//! messages of [`control`].

pub mod at_rest;
pub mod config;
pub mod control;
pub mod host;
pub mod machine;
pub mod running;

mod boot;
mod bus;
mod completion;
mod console;
mod cpuid;
mod devices;
mod exception;
mod image;
mod layout;
mod memory;
mod mptable;
mod registers;
mod snapshot;
mod state;
mod vcpu;
mod xsave;
