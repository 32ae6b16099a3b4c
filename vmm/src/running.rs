//! A running virtual machine: paused, resumed, saved, ended.

use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use kvm_ioctls::VmFd;
use rvm_devices::event_loop::{EventLoop, EventLoopError};
use rvm_devices::virtio::balloon::{self, BalloonControl};
use vm_memory::GuestMemoryMmap;

use crate::bus::Bus;
use crate::console::Console;
use crate::control::{Command, Stop};
use crate::snapshot;
use crate::state::{self, ChipState, MachineState};
use crate::vcpu::{self, Gone};

/// Why a running virtual machine can't do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A vCPU has stopped for good.
    #[error(transparent)]
    Vcpu(#[from] Gone),
    /// The device thread has ended.
    #[error("can't let the devices stand still")]
    Devices(#[from] EventLoopError),
    /// Only a virtual machine that stands still can be saved.
    #[error("the virtual machine runs; pause it first")]
    NotPaused,
    /// A state that KVM does not give.
    #[error(transparent)]
    State(#[from] state::Error),
    /// A balloon that would take all of the guest's memory, or more.
    #[error("a balloon of {asked} MiB does not fit into a guest of {has} MiB")]
    Balloon {
        /// What was asked for.
        asked: u64,
        /// The guest's memory.
        has: u64,
    },
    /// The three files of a snapshot did not come.
    #[error(
        "a snapshot takes three descriptors: for its state, for its memory, and of the VMM's page map"
    )]
    Files,
    /// The snapshot could not be written.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
}

/// What a virtual machine's main thread waits for.
#[derive(Debug)]
pub enum Occurrence {
    /// A vCPU has stopped for good, or the parent is gone.
    Stopped(Stop),
    /// The parent has asked for something, with these descriptors.
    Asked(Command, Vec<OwnedFd>),
}

/// A virtual machine whose vCPUs run, each in a thread. Its threads end with the process.
pub struct Running {
    // Fields are dropped in this order: nothing that uses guest memory outlives it.
    pub(crate) vcpus: Vec<vcpu::Handle>,
    pub(crate) devices: EventLoop,
    pub(crate) console: Console,
    pub(crate) bus: Arc<Bus>,
    pub(crate) vm: VmFd,
    pub(crate) memory: GuestMemoryMmap,
    /// The host addresses where guest memory is mapped from the kernel's and the initramfs's files.
    pub(crate) images: Vec<Range<usize>>,
    pub(crate) balloon: BalloonControl,
    /// What a snapshot says and what does not change while the machine runs.
    pub(crate) cpuid: Vec<kvm_bindings::kvm_cpuid_entry2>,
    pub(crate) msrs: Arc<[u32]>,
    pub(crate) memory_mib: u64,
    pub(crate) paused: bool,
}

impl Running {
    /// Lets all vCPUs stand still.
    pub fn pause(&mut self) -> Result<(), Error> {
        if !self.paused {
            for vcpu in &self.vcpus {
                vcpu.pause()?;
            }
            for vcpu in &self.vcpus {
                vcpu.wait_until_still()?;
            }
            self.paused = true;
        }
        Ok(())
    }

    /// Lets all vCPUs go on.
    pub fn resume(&mut self) -> Result<(), Error> {
        if self.paused {
            for vcpu in &self.vcpus {
                vcpu.resume()?;
            }
            self.paused = false;
        }
        Ok(())
    }

    /// Asks the guest to do without `mib` MiB of its memory. It gives them back in its own time, and as far as it can.
    pub fn set_balloon(&self, mib: u64) -> Result<(), Error> {
        let pages = mib.checked_mul((1 << 20) / balloon::PAGE_SIZE);
        let pages = pages.filter(|_| mib < self.memory_mib);
        let pages = pages.and_then(|pages| u32::try_from(pages).ok());
        self.balloon.set_target(pages.ok_or(Error::Balloon {
            asked: mib,
            has: self.memory_mib,
        })?);
        Ok(())
    }

    /// Writes a snapshot of the paused machine to two empty files. `pagemap` is this process's.
    pub fn snapshot(
        &self,
        state_file: &mut File,
        memory_file: &File,
        pagemap: &File,
    ) -> Result<(), Error> {
        if !self.paused {
            return Err(Error::NotPaused);
        }
        let standing = self.devices.pause()?;
        let vcpus = self
            .vcpus
            .iter()
            .map(|vcpu| Ok(vcpu.save(&self.msrs)??))
            .collect::<Result<_, Error>>()?;
        let (serial, devices) = self.bus.save();
        let state = MachineState {
            memory_mib: self.memory_mib,
            cpuid: self.cpuid.clone(),
            vcpus,
            chips: ChipState::save(&self.vm)?,
            serial,
            devices,
        };
        snapshot::write_memory(memory_file, &self.memory, &self.images, pagemap)?;
        snapshot::write_state(state_file, &state)?;
        drop(standing);
        Ok(())
    }

    /// What `stop` really was, in the light of what the guest wrote to its console.
    pub fn explain(&self, stop: Stop) -> Stop {
        self.console.finish();
        match stop {
            Stop::Reset => self
                .console
                .panic()
                .map_or(Stop::Reset, |console| Stop::GuestPanic { console }),
            other => other,
        }
    }
}
