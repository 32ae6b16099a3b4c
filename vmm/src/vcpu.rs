//! A vCPU: made, prepared, and run in a thread of its own until the virtual machine ends.

use std::sync::Arc;

use kvm_bindings::CpuId;
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};

use crate::bus::Bus;
use crate::completion;
use crate::control::Stop;
use crate::{cpuid, registers};

/// Why a vCPU could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// KVM refused to make it.
    #[error("can't make vCPU {id}")]
    Create {
        /// Its number.
        id: u8,
        /// What KVM said.
        #[source]
        source: kvm_ioctls::Error,
    },
    /// KVM refused its CPUID.
    #[error("can't set the CPUID of vCPU {id}")]
    Cpuid {
        /// Its number.
        id: u8,
        /// What KVM said.
        #[source]
        source: kvm_ioctls::Error,
    },
    /// Its registers could not be set.
    #[error("can't prepare vCPU {id}")]
    Registers {
        /// Its number.
        id: u8,
        /// What failed.
        #[source]
        source: registers::Error,
    },
}

/// A vCPU that is ready to run.
pub struct Vcpu {
    id: u8,
    fd: VcpuFd,
    bus: Arc<Bus>,
}

/// What an exit from the guest leads to.
enum After {
    Run,
    Stop(Stop),
}

impl Vcpu {
    /// Makes the vCPU number `id` of `count`, in the state that a firmware leaves it in.
    pub fn new(
        vm: &VmFd,
        id: u8,
        count: u8,
        template: &CpuId,
        bus: Arc<Bus>,
    ) -> Result<Self, Error> {
        let fd = vm
            .create_vcpu(u64::from(id))
            .map_err(|source| Error::Create { id, source })?;
        cpuid::set(&fd, template, id, count).map_err(|source| Error::Cpuid { id, source })?;
        registers::set_up_firmware_state(&fd).map_err(|source| Error::Registers { id, source })?;
        Ok(Self { id, fd, bus })
    }

    /// KVM's descriptor, for what is done once before the vCPU runs.
    pub fn fd(&self) -> &VcpuFd {
        &self.fd
    }

    /// Runs guest code until the virtual machine ends, and says how it ended.
    pub fn run(mut self) -> Stop {
        loop {
            if let After::Stop(stop) = self.run_once() {
                tracing::debug!(vcpu = self.id, ?stop, "vCPU has stopped");
                return stop;
            }
        }
    }

    fn run_once(&mut self) -> After {
        match self.fd.run() {
            Ok(VcpuExit::MmioRead(address, data)) => self.bus.mmio_read(address, data),
            Ok(VcpuExit::MmioWrite(address, data)) => self.bus.mmio_write(address, data),
            Ok(VcpuExit::IoIn(port, data)) => self.bus.io_read(port, data),
            Ok(VcpuExit::IoOut(port, data)) => {
                if let Some(stop) = self.bus.io_write(port, data) {
                    return After::Stop(stop);
                }
            }
            Ok(VcpuExit::InternalError) => return self.complete(),
            Ok(VcpuExit::Shutdown) => {
                return After::Stop(Stop::TripleFault {
                    registers: self.registers(),
                });
            }
            Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen) => {}
            Ok(other) => {
                let message =
                    format!("KVM left the guest for a reason rvm does not know: {other:?}");
                return After::Stop(Stop::KvmError {
                    message,
                    registers: self.registers(),
                });
            }
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
            Err(error) => {
                let message = format!("KVM can't run vCPU {}: {error}", self.id);
                return After::Stop(Stop::KvmError {
                    message,
                    registers: self.registers(),
                });
            }
        }
        After::Run
    }

    /// Goes on after an instruction that KVM handed back, where that is possible.
    fn complete(&mut self) -> After {
        let instruction = completion::failed_instruction(&mut self.fd).unwrap_or_default();
        match completion::complete(&self.fd, &instruction) {
            Ok(true) => After::Run,
            Ok(false) => {
                let message = format!("KVM can't emulate the instruction {instruction:02x?}");
                After::Stop(Stop::KvmError {
                    message,
                    registers: self.registers(),
                })
            }
            Err(error) => {
                let message = format!("can't complete the instruction {instruction:02x?}: {error}");
                After::Stop(Stop::KvmError {
                    message,
                    registers: self.registers(),
                })
            }
        }
    }

    /// The registers as text, for a log.
    fn registers(&self) -> String {
        match (self.fd.get_regs(), self.fd.get_sregs()) {
            (Ok(regs), Ok(sregs)) => format!(
                "vCPU {} rip {:#x} rsp {:#x} rflags {:#x} rax {:#x} rbx {:#x} rcx {:#x} rdx {:#x} rsi {:#x} rdi {:#x} \
                 rbp {:#x} cs {:#x} cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} efer {:#x}",
                self.id,
                regs.rip,
                regs.rsp,
                regs.rflags,
                regs.rax,
                regs.rbx,
                regs.rcx,
                regs.rdx,
                regs.rsi,
                regs.rdi,
                regs.rbp,
                sregs.cs.selector,
                sregs.cr0,
                sregs.cr2,
                sregs.cr3,
                sregs.cr4,
                sregs.efer
            ),
            (Err(error), _) | (_, Err(error)) => format!("can't read the registers: {error}"),
        }
    }
}
