//! What the host and the agent in the guest say to each other over vsock.
//!
//! The agent listens on [`AGENT_PORT`] and, once it does, connects to the host's [`READY_PORT`]; that first
//! connection and every later one that the host opens to [`AGENT_PORT`] speak the same protocol.
//!
//! A connection carries [`frame`]s. The host sends a [`RequestOf`], the agent answers each with a [`Response`],
//! in order. After a successful [`RequestOf::Start`] or [`RequestOf::Exec`] the connection belongs to that process
//! until it ends: the host sends [`Kind::Stdin`], [`Kind::StdinClosed`] and [`Kind::Resize`] frames, the agent
//! [`Kind::Stdout`] and [`Kind::Stderr`] frames, and last, when the process has ended and its output is sent, one
//! [`Kind::Exited`] frame; then the agent closes the connection. Losing the host's end ends nothing in the guest: the output is
//! discarded from then on.

mod capability;
pub mod frame;
mod message;

pub use capability::CAPABILITIES;
pub use frame::Kind;
pub use message::*;

/// The guest's vsock port on which the agent accepts connections from the host.
pub const AGENT_PORT: u32 = 1024;

/// The host's vsock port to which the agent connects once, when it accepts connections.
pub const READY_PORT: u32 = 1024;

/// The guest's folder below which each container has a folder of its own, named by [`PrepareOf::name`], for its root file system and
/// the files of [`PrepareOf::files`].
pub const CONTAINERS_DIR: &str = "/run/rvm";

/// What the names of kernel parameters begin with that are of a network namespace. Under an OCI runtime the agent sets them.
pub const NETWORK_PARAMETERS: &str = "net.";

/// The argument that starts the agent's program as an init in a container, before the command that it runs there.
pub const INIT: &str = "--init";
