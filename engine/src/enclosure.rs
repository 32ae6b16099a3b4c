//! What a running container is in: a microVM, or a sandbox on the host.

use std::io;
use std::time::Duration;

use rvm_vmm::control::Command;

use crate::microvm::{ControlError, Controller, LaunchError, MicroVm};
use crate::monitor::BootError;
use crate::sandbox::{Sandbox, SandboxError};

/// What a running container is in. It ends at the latest when this value is dropped.
#[derive(Debug)]
pub enum Enclosure {
    /// A microVM.
    MicroVm(MicroVm),
    /// A sandbox.
    Sandbox(Sandbox),
}

/// The way to let everything in an enclosure stand still.
#[derive(Debug)]
pub enum Brake {
    /// A microVM's vCPUs can.
    Vcpus(Controller),
    /// The container's control group can, which its agent has in hand.
    Agent,
}

impl Enclosure {
    /// The process that is shown for the container: the VMM, or the container's own first one.
    pub fn pid(&self) -> u32 {
        match self {
            Self::MicroVm(vm) => vm.pid(),
            Self::Sandbox(sandbox) => sandbox.first_process().unwrap_or_else(|| sandbox.pid()),
        }
    }

    /// Why it has ended before its container, for a person.
    pub fn early_end(&self, patience: Duration) -> String {
        match self {
            Self::MicroVm(vm) => {
                let end = vm.wait_end(patience);
                let reason = end.map_or("the connection to the guest was lost".to_owned(), |end| {
                    end.to_string()
                });
                format!("the microVM has ended before its container: {reason}")
            }
            Self::Sandbox(sandbox) if sandbox.wait_end(patience) => SandboxError::Ended.to_string(),
            Self::Sandbox(_) => "the connection to the container's agent was lost".to_owned(),
        }
    }

    /// Whether its agent has something to put away that does not go with it.
    pub fn puts_away(&self) -> bool {
        matches!(self, Self::Sandbox(_))
    }

    /// Notes that its agent was asked to end, and has put everything away.
    pub fn expect_end(&mut self) {
        if let Self::Sandbox(sandbox) = self {
            sandbox.expect_end();
        }
    }

    /// A way for other threads to let it stand still.
    pub fn brake(&self) -> io::Result<Brake> {
        match self {
            Self::MicroVm(vm) => Ok(Brake::Vcpus(vm.controller()?)),
            Self::Sandbox(_) => Ok(Brake::Agent),
        }
    }

    /// Waits for its end before its container's, at most `patience`; why there is none any more.
    pub fn wait_end(&self, patience: Duration) -> Option<BootError> {
        match self {
            Self::MicroVm(vm) => {
                let end = vm.wait_end(patience)?;
                Some(LaunchError::Ended(end).into())
            }
            Self::Sandbox(sandbox) => sandbox
                .wait_end(patience)
                .then(|| SandboxError::Ended.into()),
        }
    }
}

impl Brake {
    /// Has a microVM give back so much of its memory; a sandbox has none of its own.
    pub fn set_balloon(&self, mib: u64) -> Result<(), ControlError> {
        match self {
            Self::Vcpus(controller) => controller.command(&Command::Balloon { mib }),
            Self::Agent => Ok(()),
        }
    }
}
