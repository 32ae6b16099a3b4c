//! The root folder, below which everything that `rvm` keeps lies.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::id::ContainerId;
use crate::rootless;

/// The root folder of `rvm` for the super-user.
pub const SYSTEM_ROOT: &str = "/var/lib/rvm";

/// A root folder. Two of them know nothing of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

/// Why a root folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// There is no place for one.
    #[error("no root folder for rvm: neither XDG_DATA_HOME nor HOME is set; give one with --root")]
    Nowhere,
    /// It can't be made.
    #[error("cannot use {path} as the root folder of rvm; give another one with --root")]
    Make {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Root {
    /// The root folder at `path`, or the user's usual one; it is made where it is missing.
    pub fn open(path: Option<PathBuf>) -> Result<Self, RootError> {
        let path = match path {
            Some(path) => path,
            None => usual()?,
        };
        let error = |source| RootError::Make {
            path: path.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&path)
            .map_err(error)?;
        // One spelling, because names of network interfaces are made from it.
        let path = fs::canonicalize(&path).map_err(error)?;
        let root = Self(path.clone());
        match DirBuilder::new().mode(0o700).create(root.containers()) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(error(e)),
            _ => Ok(root),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A short name for it, which is stable over versions, and for another root folder another one.
    pub fn tag(&self) -> String {
        let bytes = self.0.as_os_str().as_encoded_bytes();
        // The FNV-1a hash.
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        format!("{:06x}", hash & 0xff_ffff)
    }

    /// The database of containers.
    pub fn database(&self) -> PathBuf {
        self.0.join("rvm.db")
    }

    /// What the last examination of the host's KVM found.
    pub fn host(&self) -> PathBuf {
        self.0.join("host.json")
    }

    /// The folder of the templates that microVMs start from.
    pub fn templates(&self) -> PathBuf {
        self.0.join("templates")
    }

    /// The folder that holds each container's own.
    pub fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }

    /// The folder of file systems in which nothing is yet, from which containers' writable layers are copied.
    pub fn disks(&self) -> PathBuf {
        self.0.join("disks")
    }

    /// A container's folder.
    pub fn container(&self, id: &ContainerId) -> ContainerFolder {
        ContainerFolder(self.containers().join(id.as_str()))
    }
}

fn usual() -> Result<PathBuf, RootError> {
    if rustix::process::geteuid().is_root() {
        return Ok(SYSTEM_ROOT.into());
    }
    let folder = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    folder("XDG_DATA_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("rvm"))
        .ok_or(RootError::Nowhere)
}

/// A container's folder.
#[derive(Clone, Debug)]
pub struct ContainerFolder(PathBuf);

impl ContainerFolder {
    /// Makes the folder where it is missing, for its owner only.
    pub fn make(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.0) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file whose lock is the right to change the container.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The disk of its writable layer.
    pub fn disk(&self) -> PathBuf {
        self.0.join("disk.ext4")
    }

    /// The folder of its writable layer, where that is on no disk.
    pub fn writable(&self) -> PathBuf {
        self.0.join("writable")
    }

    /// Opens that folder, and makes it where it is missing.
    pub fn open_writable(&self) -> io::Result<fs::File> {
        let path = self.writable();
        match DirBuilder::new().mode(0o755).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => fs::File::open(&path),
        }
    }

    /// The folder of its checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// What the container has written, in Docker's json-file format.
    pub fn log(&self) -> PathBuf {
        self.0.join("container-json.log")
    }

    /// What the guest's kernel and agent have written to the serial console.
    pub fn console(&self) -> PathBuf {
        self.0.join("console.log")
    }

    /// What the monitor and the VMM have to say.
    pub fn monitor_log(&self) -> PathBuf {
        self.0.join("monitor.log")
    }

    /// The name of the monitor's socket in the folder.
    pub const SOCKET: &str = "monitor.sock";

    /// The monitor's socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join(Self::SOCKET)
    }

    /// Calls `use_path` with a path of the monitor's socket that is short enough for a socket's address, which holds 107 bytes.
    pub fn with_socket_path<T>(
        &self,
        use_path: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<T> {
        let folder = rustix::fs::open(
            &self.0,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        use_path(
            &Path::new("/proc/self/fd")
                .join(folder.as_raw_fd().to_string())
                .join(Self::SOCKET),
        )
    }

    /// Removes the folder and all in it.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            // Of the users of a user namespace.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && rootless::applies() => {
                rootless::remove(&self.0)
            }
            result => result,
        }
    }
}
