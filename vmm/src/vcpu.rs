//! A vCPU: made, prepared, and run in a thread of its own until the virtual machine ends.
//!
//! A running vCPU is reached by a [`Handle`]: a request, and a signal that gets it out of the guest to look at it. It then
//! stands still, and serves further requests, until it is told to go on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kvm_bindings::CpuId;
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use crate::bus::Bus;
use crate::completion;
use crate::control::Stop;
use crate::running::Occurrence;
use crate::state::{self, VcpuState};
use crate::{cpuid, registers};

/// How often a vCPU that does not stand still yet is kicked: a signal that comes just before it enters the guest is lost.
const KICK_INTERVAL: Duration = Duration::from_millis(1);

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
    /// Its saved state could not be given to it.
    #[error("can't restore vCPU {id}")]
    State {
        /// Its number.
        id: u8,
        /// What failed.
        #[source]
        source: state::Error,
    },
}

/// A vCPU that is ready to run.
pub struct Vcpu {
    id: u8,
    fd: VcpuFd,
    bus: Arc<Bus>,
    memory: GuestMemoryMmap,
}

/// What an exit from the guest leads to.
enum After {
    Run,
    Kicked,
    Stop(Stop),
}

enum Request {
    Pause,
    Resume,
    Save {
        msrs: Arc<[u32]>,
        reply: Sender<Result<VcpuState, state::Error>>,
    },
}

/// The vCPU's thread is gone.
#[derive(Debug, thiserror::Error)]
#[error("a vCPU's thread has ended")]
pub struct Gone;

/// A running vCPU.
pub struct Handle {
    thread: JoinHandle<()>,
    requests: Sender<Request>,
    standing: Receiver<()>,
}

/// Lets vCPU threads be kicked: SIGRTMIN then only gets them out of the guest. Called once, before the first one starts.
pub fn handle_kicks() -> Result<(), vmm_sys_util::errno::Error> {
    extern "C" fn nothing(_: std::ffi::c_int, _: *mut libc::siginfo_t, _: *mut std::ffi::c_void) {}
    register_signal_handler(SIGRTMIN(), nothing)
}

impl Handle {
    /// Asks the vCPU to stand still; [`Handle::wait_until_still`] waits for it.
    pub fn pause(&self) -> Result<(), Gone> {
        self.requests.send(Request::Pause).map_err(|_| Gone)
    }

    /// Waits until the vCPU, which was asked to, stands still.
    pub fn wait_until_still(&self) -> Result<(), Gone> {
        loop {
            // The thread may be ending; then the channel says so.
            let _ = self.thread.kill(SIGRTMIN());
            match self.standing.recv_timeout(KICK_INTERVAL) {
                Ok(()) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Gone),
            }
        }
    }

    /// Lets a vCPU that stands still go on.
    pub fn resume(&self) -> Result<(), Gone> {
        self.requests.send(Request::Resume).map_err(|_| Gone)
    }

    /// The state of a vCPU that stands still.
    pub fn save(&self, msrs: &Arc<[u32]>) -> Result<Result<VcpuState, state::Error>, Gone> {
        let (reply, receive) = channel();
        self.requests
            .send(Request::Save {
                msrs: msrs.clone(),
                reply,
            })
            .map_err(|_| Gone)?;
        receive.recv().map_err(|_| Gone)
    }
}

impl Vcpu {
    /// Makes the vCPU number `id` of `count`, in the state that a firmware leaves it in.
    pub fn new(
        vm: &VmFd,
        id: u8,
        count: u8,
        template: &CpuId,
        bus: Arc<Bus>,
        memory: GuestMemoryMmap,
    ) -> Result<Self, Error> {
        let fd = vm
            .create_vcpu(u64::from(id))
            .map_err(|source| Error::Create { id, source })?;
        cpuid::set(&fd, template, id, count).map_err(|source| Error::Cpuid { id, source })?;
        registers::set_up_firmware_state(&fd).map_err(|source| Error::Registers { id, source })?;
        Ok(Self {
            id,
            fd,
            bus,
            memory,
        })
    }

    /// KVM's descriptor, for what is done once before the vCPU runs.
    pub fn fd(&self) -> &VcpuFd {
        &self.fd
    }

    /// A vCPU like [`Vcpu::new`]'s, in a saved state.
    pub fn restore(
        vm: &VmFd,
        id: u8,
        count: u8,
        template: &CpuId,
        bus: Arc<Bus>,
        memory: GuestMemoryMmap,
        state: &VcpuState,
    ) -> Result<Self, Error> {
        let vcpu = Self::new(vm, id, count, template, bus, memory)?;
        state
            .restore(&vcpu.fd)
            .map_err(|source| Error::State { id, source })?;
        Ok(vcpu)
    }

    /// Runs the vCPU in a thread of its own, which says on `happened` how the virtual machine ended if this vCPU is the first to know.
    pub fn start(self, happened: Sender<Occurrence>) -> std::io::Result<Handle> {
        let (requests, receive_requests) = channel();
        let (send_standing, standing) = channel();
        let thread = std::thread::Builder::new()
            .name(format!("vcpu{}", self.id))
            .spawn(move || {
                if let Some(stop) = self.run(&receive_requests, &send_standing) {
                    // Nobody listens any more once another vCPU has stopped.
                    let _ = happened.send(Occurrence::Stopped(stop));
                }
            })?;
        Ok(Handle {
            thread,
            requests,
            standing,
        })
    }

    /// Runs guest code, and stands still when asked to, until the virtual machine ends; `None` when its handle is gone.
    fn run(mut self, requests: &Receiver<Request>, standing: &Sender<()>) -> Option<Stop> {
        loop {
            match self.run_once() {
                After::Run => {}
                After::Stop(stop) => {
                    tracing::debug!(vcpu = self.id, ?stop, "vCPU has stopped");
                    return Some(stop);
                }
                // Only here has KVM completed what the guest's last exit began.
                After::Kicked => {
                    if let Ok(Request::Pause) = requests.try_recv() {
                        standing.send(()).ok()?;
                        self.stand_still(requests)?;
                    }
                }
            }
        }
    }

    /// Serves requests until the vCPU is to go on; `None` when its handle is gone.
    fn stand_still(&self, requests: &Receiver<Request>) -> Option<()> {
        loop {
            match requests.recv().ok()? {
                Request::Pause => {}
                Request::Resume => return Some(()),
                Request::Save { msrs, reply } => {
                    // Whoever asked may have given up.
                    let _ = reply.send(VcpuState::save(&self.fd, &msrs));
                }
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
            Ok(VcpuExit::Intr) => return After::Kicked,
            Ok(VcpuExit::IrqWindowOpen) => {}
            Ok(other) => {
                let message =
                    format!("KVM left the guest for a reason rvm does not know: {other:?}");
                return After::Stop(Stop::KvmError {
                    message,
                    registers: self.registers(),
                });
            }
            Err(error) if error.errno() == libc::EINTR => return After::Kicked,
            Err(error) if error.errno() == libc::EAGAIN => {}
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
        match completion::complete(&self.fd, &self.memory, &instruction) {
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
