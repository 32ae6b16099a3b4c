//! The VMM's process: everything it needs is opened here, and given to it as descriptors.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::{PidfdFlags, Signal, pidfd_send_signal};
use rvm_vmm::config::{Config, Disk, HostKind, Link, Network, Start, Vsock};
use rvm_vmm::control::{self, Event, Stop};

use super::broker::Broker;
use super::controller::Controller;

/// The context id that every guest has; guests don't see each other over vsock, so one is enough.
const GUEST_CID: u32 = 3;

/// What a guest sees as the size of each layer's disk, so that one that was saved without a container can go on with any image's. A layer's
/// file system knows its own.
const LAYER_SIZE: u64 = 1 << 40;

/// The VMM's first inherited descriptor: its configuration. The others follow.
const CONFIG_FD: RawFd = 3;

/// The kernel's command line, to which the VMM adds what its devices and the host need.
pub const CMDLINE: &str = "quiet panic=-1 reboot=k console=ttyS0 noreplace-smp rootfstype=ramfs rcupdate.rcu_cpu_stall_suppress=1 clocksource=kvm-clock";

/// What a microVM is made of.
#[derive(Debug)]
pub struct Machine {
    /// The program `rvm-vmm`.
    pub vmm: PathBuf,
    /// `/dev/kvm`.
    pub kvm: OwnedFd,
    /// What kind of KVM it is.
    pub host: HostKind,
    /// What it starts from.
    pub origin: Origin,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Processors.
    pub vcpus: u8,
    /// The layers, uppermost first, which become `/dev/vda` and so on.
    pub layers: Vec<File>,
    /// The writable layer, the disk behind those of `layers`.
    pub disk: Option<File>,
    /// A network device and the guest's MAC address on it.
    pub network: Option<(NetworkDevice, [u8; 6])>,
    /// For the guest's serial console.
    pub console: File,
    /// For what the VMM has to say itself.
    pub log: File,
}

/// The host's end of a network device.
#[derive(Debug)]
pub enum NetworkDevice {
    /// A tap.
    Tap(OwnedFd),
    /// A stream socket, whose other end is the network.
    Stream(OwnedFd),
}

/// What a microVM starts from.
#[derive(Debug)]
pub enum Origin {
    /// It boots.
    Boot {
        /// The kernel.
        kernel: File,
        /// The initial root file system.
        initramfs: File,
    },
    /// It goes on from a snapshot of one of the same make.
    Snapshot {
        /// The snapshot's state.
        state: File,
        /// The snapshot's memory.
        memory: File,
    },
}

/// Why a microVM did not come up.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Its memory could not be had.
    #[error("cannot make {mib} MiB of memory for the guest")]
    Memory {
        /// How much.
        mib: u64,
        /// Why.
        source: io::Error,
    },
    /// A descriptor for it could not be made.
    #[error("cannot prepare the descriptors of the VMM")]
    Prepare(#[source] io::Error),
    /// The VMM could not be started.
    #[error("cannot start {path}")]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The VMM said why it can't.
    #[error("the microVM could not be set up: {0}")]
    Failed(String),
    /// The microVM ended before its agent was ready.
    #[error("the microVM ended before its guest was ready: {0}")]
    Ended(End),
    /// The agent did not answer in time.
    #[error("the guest was not ready after {0} seconds")]
    Timeout(u64),
    /// The control socket failed.
    #[error("cannot talk to the VMM")]
    Control(#[source] io::Error),
    /// The vsock broker failed.
    #[error(transparent)]
    Broker(#[from] super::BrokerError),
}

/// How a microVM ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The VMM has told.
    Stopped(Stop),
    /// The VMM's process is gone without a word: it was killed, or it crashed.
    Vanished,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped(Stop::PowerOff) => write!(f, "the guest switched itself off"),
            Self::Stopped(Stop::Reset) => write!(f, "the guest asked for a reset"),
            Self::Stopped(Stop::GuestPanic { console }) => {
                write!(f, "the guest's kernel panicked: {}", console.trim())
            }
            Self::Stopped(Stop::TripleFault { .. }) => {
                write!(f, "the guest's kernel ended in a triple fault")
            }
            Self::Stopped(Stop::KvmError { message, .. }) => {
                write!(f, "KVM could not go on: {message}")
            }
            Self::Stopped(Stop::Requested) => write!(f, "it was asked to end"),
            Self::Vanished => write!(f, "the VMM's process was killed or crashed"),
        }
    }
}

/// A running microVM. It ends at the latest when this value is dropped.
#[derive(Debug)]
pub struct MicroVm {
    child: Child,
    control: OwnedFd,
}

impl MicroVm {
    /// Starts the VMM. To be called from a thread that lives as long as the microVM shall.
    pub fn launch(machine: Machine) -> Result<(Self, Broker), LaunchError> {
        let (control, vmm_control) = socketpair().map_err(LaunchError::Prepare)?;
        let (broker, vmm_broker) = socketpair().map_err(LaunchError::Prepare)?;

        let mut inherited = Vec::new();
        let mut give = |fd: OwnedFd| {
            inherited.push(fd);
            CONFIG_FD + inherited.len() as RawFd
        };
        let start = match machine.origin {
            Origin::Boot { kernel, initramfs } => {
                let memory =
                    guest_memory(machine.memory_mib).map_err(|source| LaunchError::Memory {
                        mib: machine.memory_mib,
                        source,
                    })?;
                Start::Boot {
                    memory_fd: give(memory),
                    kernel_fd: give(kernel.into()),
                    initramfs_fd: Some(give(initramfs.into())),
                    cmdline: CMDLINE.to_owned(),
                }
            }
            Origin::Snapshot { state, memory } => Start::Restore {
                state_fd: give(state.into()),
                memory_fd: give(memory.into()),
            },
        };
        let config = Config {
            kvm_fd: give(machine.kvm),
            memory_mib: machine.memory_mib,
            vcpus: machine.vcpus,
            start,
            host: machine.host,
            control_fd: give(vmm_control),
            console_fd: Some(give(machine.console.into())),
            disks: machine
                .layers
                .into_iter()
                .map(|layer| (layer, Some(LAYER_SIZE)))
                .chain(machine.disk.map(|disk| (disk, None)))
                .map(|(file, size)| Disk {
                    fd: give(file.into()),
                    read_only: size.is_some(),
                    size,
                    serial: String::new(),
                })
                .collect(),
            networks: machine
                .network
                .into_iter()
                .map(|(device, mac)| Network {
                    link: match device {
                        NetworkDevice::Tap(tap) => Link::TapFd(give(tap)),
                        NetworkDevice::Stream(socket) => Link::StreamFd(give(socket)),
                    },
                    mac,
                })
                .collect(),
            vsock: Some(Vsock {
                cid: GUEST_CID,
                broker_fd: give(vmm_broker),
            }),
        };
        let config = config_file(&config).map_err(LaunchError::Prepare)?;

        let mut command = Command::new(&machine.vmm);
        command.arg("--config-fd").arg(CONFIG_FD.to_string());
        command.env_clear().current_dir("/");
        if let Some(level) = std::env::var_os("RVM_LOG") {
            command.env("RVM_LOG", level);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(machine.log);
        let mappings = std::iter::once(config).chain(inherited).enumerate();
        let mappings = mappings
            .map(|(n, parent_fd)| FdMapping {
                parent_fd,
                child_fd: CONFIG_FD + n as RawFd,
            })
            .collect();
        command
            .fd_mappings(mappings)
            .map_err(|error| LaunchError::Prepare(io::Error::other(error)))?;
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                // The closed control socket ends the VMM too; this holds even when its main thread is stuck.
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(())
            });
        }
        let child = command.spawn().map_err(|source| LaunchError::Spawn {
            path: machine.vmm,
            source,
        })?;
        Ok((Self { child, control }, Broker::new(broker)))
    }

    /// The VMM's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the vCPUs run.
    pub fn wait_running(&self) -> Result<(), LaunchError> {
        while !self.hear()? {}
        Ok(())
    }

    /// Takes what the VMM says during a launch; whether it was that the vCPUs run.
    fn hear(&self) -> Result<bool, LaunchError> {
        match self.next_event().map_err(LaunchError::Control)? {
            Some(Event::Running) => Ok(true),
            // Answers, to questions that a launch does not ask.
            Some(Event::Done | Event::Refused { .. }) => Ok(false),
            Some(Event::Failed { message }) => Err(LaunchError::Failed(message)),
            Some(Event::Stopped(stop)) => Err(LaunchError::Ended(End::Stopped(stop))),
            None => Err(LaunchError::Ended(End::Vanished)),
        }
    }

    /// Waits until the guest has made a connection.
    pub fn wait_ready(&self, broker: &Broker, timeout: Duration) -> Result<(), LaunchError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [
                PollFd::new(&self.control, PollFlags::IN),
                PollFd::new(broker, PollFlags::IN),
            ];
            let left = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return Err(LaunchError::Timeout(timeout.as_secs())),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(LaunchError::Control(errno.into())),
            }
            let (control, broker) = (!fds[0].revents().is_empty(), fds[1].revents());
            // What the VMM says goes first: when it ends, the broker's end is closed as well.
            if control {
                if self.hear()? {
                    tracing::debug!("the vCPUs run");
                }
            } else if broker.contains(PollFlags::IN) {
                return Ok(());
            }
        }
    }

    /// Ends the microVM, and tells how it had ended if it had ended by itself.
    pub fn end(mut self) -> Option<End> {
        let end = self.ended();
        self.kill();
        end
    }

    /// How the microVM has ended; `None` while it has not. Waits a moment for the VMM's last word when its process is about to end.
    fn ended(&self) -> Option<End> {
        let mut patience = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        loop {
            let mut fds = [PollFd::new(&self.control, PollFlags::IN)];
            match poll(&mut fds, Some(&patience)) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
            match self.next_event() {
                Ok(Some(Event::Stopped(stop))) => return Some(End::Stopped(stop)),
                Ok(Some(_)) => patience.tv_nsec = 0,
                Ok(None) | Err(_) => return Some(End::Vanished),
            }
        }
    }

    /// Waits for how the microVM has ended, at most `patience`.
    pub fn wait_end(&self, patience: Duration) -> Option<End> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let mut fds = [PollFd::new(&self.control, PollFlags::IN)];
            let slice = Timespec {
                tv_sec: 0,
                tv_nsec: 50_000_000,
            };
            if matches!(poll(&mut fds, Some(&slice)), Ok(1..))
                && let Some(end) = self.ended()
            {
                return Some(end);
            }
        }
        None
    }

    fn next_event(&self) -> io::Result<Option<Event>> {
        let mut packet = vec![0; control::MAX_MESSAGE];
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.control, packet.as_mut_slice(), RecvFlags::empty())
        });
        let length = match received {
            Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Ok((_, length)) => length,
            Err(errno) => return Err(errno.into()),
        };
        Ok(Some(serde_json::from_slice(&packet[..length])?))
    }

    /// A handle with which other threads can give the VMM commands.
    pub fn controller(&self) -> io::Result<Controller> {
        Ok(Controller::new(self.control.try_clone()?))
    }

    /// A handle with which another thread can end the microVM.
    pub fn terminator(&self) -> io::Result<Terminator> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(Terminator(rustix::process::pidfd_open(
            pid,
            PidfdFlags::empty(),
        )?))
    }

    fn kill(&mut self) {
        // Its memory and everything in it is worthless now, so that there is nothing to be told first.
        if let Err(error) = self.child.kill() {
            tracing::warn!(%error, "cannot kill the VMM");
        }
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "cannot wait for the VMM");
        }
    }
}

impl Drop for MicroVm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ends a microVM, or a sandbox, from any thread.
#[derive(Debug)]
pub struct Terminator(OwnedFd);

impl Terminator {
    /// One for the process behind a pidfd.
    pub fn new(process: OwnedFd) -> Self {
        Self(process)
    }

    /// Kills its process, which can't object. That it has ended shows at all its sockets.
    pub fn terminate(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.0, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            result => Ok(result?),
        }
    }
}

fn socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Memory that neither side can resize under the other's mapping.
fn guest_memory(mib: u64) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create(
        "guest-memory",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    rustix::fs::ftruncate(&memory, mib << 20)?;
    rustix::fs::fcntl_add_seals(
        &memory,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    Ok(memory)
}

fn config_file(config: &Config) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("vmm-config", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    serde_json::to_writer(&mut file, config)?;
    file.flush()?;
    rustix::fs::seek(file.as_fd(), rustix::fs::SeekFrom::Start(0))?;
    Ok(file.into())
}
