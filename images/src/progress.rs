//! What a pull or a push tells while it goes on.

use crate::digest::Digest;

/// Where a layer's blob is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is in line.
    Waiting,
    /// It is on both sides already.
    Exists,
    /// So many bytes of it have been moved.
    Moved {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// All bytes are here; the file system is being finished.
    Extracting,
    /// Nothing is left to be done.
    Complete,
}

/// Told of each step, from several threads.
pub trait Progress: Sync {
    /// A layer has made a step.
    fn step(&self, layer: &Digest, step: Step);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _: &Digest, _: Step) {}
}
