//! Whose machine the agent is on, and what may be done to it.

/// Whose the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// The agent's: it is the first process of a guest.
    Own,
    /// A host's, in namespaces that were made for one container: network and mounts are the agent's, and nothing else.
    Host,
    /// Somebody's, under test.
    Borrowed,
}

impl Machine {
    /// Writes everything back, which on another one's machine is much more than the agent's.
    pub fn sync(self) {
        if self == Self::Own {
            rustix::fs::sync();
        }
    }
}
