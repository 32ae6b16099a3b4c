//! A microVM seen from outside: its process, its control socket, its vsock connections.

mod agent;
mod artifacts;
mod broker;
mod controller;
mod descriptor;
mod host;
mod launch;

pub use agent::{Agent, AgentError};
pub use artifacts::{
    ArtifactError, Artifacts, agent_program, monitor_program, rootless_program, workload_program,
};
pub use broker::{Broker, BrokerError};
pub use controller::{ControlError, Controller};
pub use descriptor::{receive, send};
pub use host::{HostError, HostReport, kind, memory_bytes, memory_mib, open_kvm};
pub use launch::{CMDLINE, End, LaunchError, Machine, MicroVm, NetworkDevice, Origin, Terminator};

/// The most layers that a microVM gets as disks of their own; an image with more has its lowest ones joined.
/// Each disk takes an interrupt line, and costs the guest's kernel a probe.
pub const MAX_LAYERS: usize = 8;
