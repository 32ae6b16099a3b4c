//! The guest as a whole: the file systems that containers need, and what the host says it is.

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rvm_agent_protocol::{CONTAINERS_DIR, Failure, FailureKind};

use crate::machine::Machine;
use crate::network;

/// Parameters that let an idle guest rest: looking for memory to put together twice a second, and asking after neighbours that nobody has
/// named every five (in milliseconds). And filters are not translated to machine code: that costs more than running them does, since the kernel
/// remembers which system calls a seccomp filter always allows.
const PARAMETERS: [(&str, &str); 4] = [
    ("net.core.bpf_jit_enable", "0"),
    ("vm.compaction_proactiveness", "0"),
    ("net.ipv4.neigh.default.interval_probe_time_ms", "3600000"),
    ("net.ipv6.neigh.default.interval_probe_time_ms", "3600000"),
];

/// Why the guest could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file system of the kernel's could not be mounted.
    #[error("guest: {0} could not be mounted on {1}")]
    Mount(&'static str, &'static str, #[source] io::Error),
    /// The root could not be replaced.
    #[error("guest: the root could not be made a mount of its own")]
    Root(#[source] io::Error),
    /// The folder of the containers could not be made.
    #[error("guest: {CONTAINERS_DIR} could not be made")]
    Containers(#[source] io::Error),
    /// The clock could not be set.
    #[error("guest: the clock could not be set")]
    Clock(#[source] io::Error),
    /// The host's random bytes were not taken.
    #[error("guest: the random number generator could not be reseeded")]
    Entropy(#[source] io::Error),
    /// The host name was not taken.
    #[error("guest: the host name could not be set")]
    Hostname(#[source] io::Error),
    /// A kernel parameter was not taken.
    #[error("guest: the kernel parameter {0} could not be set")]
    Sysctl(String, #[source] io::Error),
    /// The network could not be set up.
    #[error(transparent)]
    Network(#[from] network::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            kind: FailureKind::Other,
            message: crate::console::chain(&error),
        }
    }
}

/// What has been set up so far.
pub struct Guest {
    mounted: bool,
    network: network::State,
    /// `/dev/random`.
    random: Option<OwnedFd>,
    machine: Machine,
}

impl Guest {
    /// A guest with nothing set up. Of a machine that is not the agent's own nothing is changed.
    pub fn new(machine: Machine) -> Self {
        Self {
            mounted: false,
            network: network::State::default(),
            random: None,
            machine,
        }
    }

    /// Mounts what containers need, once.
    pub fn prepare(&mut self) -> Result<(), Error> {
        if self.mounted {
            return Ok(());
        }
        if self.machine == Machine::Own {
            own_root().map_err(|e| Error::Root(e.into()))?;
            let safe = MountFlags::NOSUID | MountFlags::NOEXEC;
            for (kind, target, flags) in [
                ("devtmpfs", "/dev", MountFlags::NOSUID),
                ("proc", "/proc", safe | MountFlags::NODEV),
                ("sysfs", "/sys", safe | MountFlags::NODEV),
                ("cgroup2", "/sys/fs/cgroup", safe | MountFlags::NODEV),
            ] {
                mount_on(kind, target, flags).map_err(|e| Error::Mount(kind, target, e.into()))?;
            }
        }
        fs::create_dir_all(CONTAINERS_DIR).map_err(Error::Containers)?;
        if self.machine == Machine::Own {
            for (name, value) in PARAMETERS {
                // A kernel that does not do it has no switch.
                let _ = set_parameter(name, value);
            }
            self.random = Some(open_random().map_err(Error::Entropy)?);
        }
        self.mounted = true;
        Ok(())
    }

    /// Brings up what of the network is the same in every guest.
    pub fn bring_network_up(&mut self, ethernet: bool) -> Result<(), Error> {
        if self.machine == Machine::Borrowed {
            return Ok(());
        }
        Ok(self.network.bring_up(ethernet)?)
    }

    /// Makes the guest what the host says it is.
    pub fn configure(&mut self, guest: &rvm_agent_protocol::Guest) -> Result<(), Error> {
        self.prepare()?;
        if self.machine == Machine::Borrowed {
            return Ok(());
        }
        if self.machine == Machine::Own {
            set_clock(guest.time_ns).map_err(|e| Error::Clock(e.into()))?;
        }
        if let (false, Some(random)) = (guest.entropy.is_empty(), &self.random) {
            reseed(random, &guest.entropy).map_err(Error::Entropy)?;
        }
        if self.machine == Machine::Own && !guest.hostname.is_empty() {
            rustix::system::sethostname(guest.hostname.as_bytes())
                .map_err(|e| Error::Hostname(e.into()))?;
        }
        self.network.apply(guest.network.as_ref())?;
        for (name, value) in &guest.sysctls {
            set_parameter(name, value).map_err(|e| Error::Sysctl(name.clone(), e))?;
        }
        Ok(())
    }
}

/// Puts a mount over the initramfs, whose own mount has no parent: `pivot_root`, which gives a container its root, refuses to
/// work below that.
fn own_root() -> Result<(), Errno> {
    let bind = || mount_bind("/", "/root");
    match bind() {
        Err(Errno::NOENT) => {
            rustix::fs::mkdir("/root", Mode::RWXU)?;
            bind()?;
        }
        result => result?,
    }
    rustix::process::chdir("/root")?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")
}

fn mount_on(kind: &str, target: &str, flags: MountFlags) -> Result<(), Errno> {
    let try_mount = || mount(kind, target, kind, flags, None::<&std::ffi::CStr>);
    match try_mount() {
        Err(Errno::NOENT) => {
            rustix::fs::mkdir(target, Mode::from_raw_mode(0o755))?;
            try_mount()
        }
        result => result,
    }
}

fn set_clock(time_ns: u64) -> Result<(), Errno> {
    let time = rustix::time::Timespec {
        tv_sec: (time_ns / 1_000_000_000) as i64,
        tv_nsec: (time_ns % 1_000_000_000) as i64,
    };
    rustix::time::clock_settime(rustix::time::ClockId::Realtime, time)
}

fn open_random() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/random", flags, Mode::empty())?)
}

/// Mixes `bytes` into the kernel's entropy, counts them as entropy, and has the generator take new keys from it.
fn reseed(random: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
    const RNDRESEEDCRNG: libc::c_ulong = 0x5207;
    // struct rand_pool_info: the entropy in bits, the length in bytes, the bytes.
    let mut pool = Vec::with_capacity(2 * mem::size_of::<i32>() + bytes.len());
    pool.extend_from_slice(&(bytes.len() as i32 * 8).to_ne_bytes());
    pool.extend_from_slice(&(bytes.len() as i32).to_ne_bytes());
    pool.extend_from_slice(bytes);
    // SAFETY: `pool` holds a rand_pool_info whose length field says how many bytes follow it; the second request takes no
    // argument.
    let failed = unsafe {
        libc::ioctl(random.as_raw_fd(), RNDADDENTROPY, pool.as_ptr()) < 0
            || libc::ioctl(random.as_raw_fd(), RNDRESEEDCRNG) < 0
    };
    if failed {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sets a parameter, given as sysctl(8) has it: dots separate, and a slash stands for a dot in a name.
pub fn set_parameter(name: &str, value: &str) -> io::Result<()> {
    let mut path = PathBuf::from("/proc/sys");
    for part in name.split('.') {
        if part.is_empty() || part == "/" || part == "//" {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        path.push(part.replace('/', "."));
    }
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
}
