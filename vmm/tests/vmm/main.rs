//! Promises of `rvm-vmm`, each tested on a real KVM with the program as `rvm` starts it.

mod hostile_snapshots;
mod opens_nothing;
mod snapshots;
mod stops;
mod support;
