//! A microVM seen from outside: its process, its control socket, its vsock connections.

mod agent;
mod artifacts;
mod broker;
mod descriptor;
mod host;
mod launch;

pub use agent::{Agent, AgentError};
pub use artifacts::{ArtifactError, Artifacts};
pub use broker::{Broker, BrokerError};
pub use descriptor::{receive, send};
pub use host::{HostError, HostReport, kind, memory_mib, open_kvm};
pub use launch::{End, LaunchError, Machine, MicroVm, Terminator};

/// The most layers that a microVM gets as disks of their own; an image with more has its lowest ones joined.
/// Each disk takes an interrupt line, and costs the guest's kernel a probe.
pub const MAX_LAYERS: usize = 8;
