//! A container's root file system: EROFS layers, a writable part, and the overlay that joins them.

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, UnmountFlags, mount, move_mount, unmount};
use rvm_agent_protocol::{Failure, FailureKind, Rootfs, Writable};
use rvm_archive::pack::Marks;

use crate::loop_device;

/// Why a root file system could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder could not be made or entered.
    #[error("root file system: the folder {0} could not be made")]
    Folder(PathBuf, #[source] io::Error),
    /// A layer could not be mounted.
    #[error("root file system: the layer on {0} could not be mounted as EROFS")]
    Layer(String, #[source] io::Error),
    /// The writable part could not be mounted.
    #[error("root file system: the writable layer could not be mounted from {0}")]
    Writable(String, #[source] io::Error),
    /// The layers could not be joined.
    #[error("root file system: {0} layers could not be joined by overlayfs")]
    Overlay(usize, #[source] io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            kind: FailureKind::Other,
            message: crate::console::chain(&error),
        }
    }
}

/// A mounted root file system, in a folder of its container.
pub struct Root {
    folder: PathBuf,
    /// What was mounted, in that order, below `folder`.
    mounted: Vec<String>,
    marks: Marks,
}

const WRITABLE: &str = "writable";
const ROOTFS: &str = "rootfs";

/// How often, and after how long, it is tried again to unmount what is in use.
const MOMENTS: u32 = 50;
const MOMENT: Duration = Duration::from_millis(2);

impl Root {
    /// Mounts `rootfs` below `folder`, which exists. Nothing stays mounted after an error.
    pub fn mount(folder: &Path, rootfs: &Rootfs) -> Result<Self, Error> {
        let mut root = Self {
            folder: folder.to_owned(),
            mounted: Vec::new(),
            marks: Marks::Trusted,
        };
        // From inside the folder all names are short: those of a hundred layers fit into the one page of mount options.
        let result = enter(folder).and_then(|()| root.mount_here(rootfs));
        let back = enter(Path::new("/"));
        if let Err(e) = result.and(back) {
            root.unmount();
            return Err(e);
        }
        Ok(root)
    }

    /// Where the container's files are.
    pub fn path(&self) -> PathBuf {
        self.folder.join(ROOTFS)
    }

    /// Where the files are that differ from the image's.
    pub fn upper(&self) -> PathBuf {
        self.folder.join(WRITABLE).join("upper")
    }

    /// Where overlayfs has its marks there.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// Mounts the layers alone, for a process with mounts of its own; where.
    pub fn mount_base(&self) -> Result<PathBuf, Errno> {
        let layers: Vec<_> = self
            .mounted
            .iter()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .cloned()
            .collect();
        if let [only] = layers.as_slice() {
            return Ok(self.folder.join(only));
        }
        rustix::process::chdir(&self.folder)?;
        let options = format!("lowerdir={}{}\0", layers.join(":"), self.mark_option());
        let options = std::ffi::CStr::from_bytes_until_nul(options.as_bytes()).unwrap_or_default();
        mount(
            "overlay",
            ROOTFS,
            "overlay",
            MountFlags::RDONLY,
            Some(options),
        )?;
        Ok(self.path())
    }

    /// Unmounts everything; whether nothing is left.
    pub fn unmount(&mut self) -> bool {
        while let Some(name) = self.mounted.last() {
            let path = self.folder.join(name);
            // A disk should be written back before its device goes: lazily only if something still uses it.
            let unmounted = unmount_free(&path)
                .or_else(|_| unmount(&path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH));
            if let Err(e) = unmounted {
                crate::console::warn("a root file system stays mounted", &io::Error::from(e));
                return false;
            }
            self.mounted.pop();
        }
        true
    }

    fn mark_option(&self) -> &'static str {
        match self.marks {
            Marks::Trusted => "",
            Marks::User => ",userxattr",
        }
    }

    fn mount_here(&mut self, rootfs: &Rootfs) -> Result<(), Error> {
        let mut options = String::from("lowerdir=");
        for (index, device) in rootfs.layers.iter().enumerate() {
            let name = index.to_string();
            make_folder(&name)?;
            let layer = mount_layer(device, &name);
            if let Place::Mounted = layer.map_err(|e| Error::Layer(device.clone(), e))? {
                self.marks = Marks::User;
            }
            let separator = if index == 0 { "" } else { ":" };
            // Writing to a string cannot fail.
            let _ = write!(options, "{separator}{name}");
            self.mounted.push(name);
        }
        make_folder(WRITABLE)?;
        mount_writable(&rootfs.writable)?;
        self.mounted.push(WRITABLE.to_owned());
        let (upper, work) = (format!("{WRITABLE}/upper"), format!("{WRITABLE}/work"));
        make_folder(&upper)?;
        make_folder(&work)?;
        make_folder(ROOTFS)?;
        let marks = self.mark_option();
        let _ = write!(options, ",upperdir={upper},workdir={work}{marks}\0");
        let options = std::ffi::CStr::from_bytes_until_nul(options.as_bytes()).unwrap_or_default();
        mount(
            "overlay",
            ROOTFS,
            "overlay",
            MountFlags::empty(),
            Some(options),
        )
        .map_err(|e| Error::Overlay(rootfs.layers.len(), e.into()))?;
        self.mounted.push(ROOTFS.to_owned());
        Ok(())
    }
}

/// How a layer got there.
enum Place {
    /// The agent has mounted it.
    Device,
    /// Somebody else had, because the agent may not: in its user namespace overlayfs has no other marks than the user's.
    Mounted,
}

fn mount_layer(device: &str, target: &str) -> io::Result<Place> {
    let device = match loop_device::inherited(device)? {
        Some(file) if is_folder(&file)? => {
            place(&file, target)?;
            return Ok(Place::Mounted);
        }
        Some(file) => loop_device::with(&file, true)?,
        None => loop_device::of(device, true)?,
    };
    let options = None::<&std::ffi::CStr>;
    mount(device.path(), target, "erofs", MountFlags::RDONLY, options)?;
    Ok(Place::Device)
}

fn is_folder(file: &OwnedFd) -> io::Result<bool> {
    let found = rustix::fs::fstat(file)?;
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}

/// Puts a mount where it is to be seen.
fn place(mount: &OwnedFd, target: &str) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, "", CWD, target, flags)
}

fn mount_writable(writable: &Writable) -> Result<(), Error> {
    match writable {
        Writable::Tmpfs { size } => {
            let size = size
                .map(|bytes| format!(",size={bytes}"))
                .unwrap_or_default();
            let options = format!("mode=0755{size}\0");
            let options =
                std::ffi::CStr::from_bytes_until_nul(options.as_bytes()).unwrap_or_default();
            mount(
                "tmpfs",
                WRITABLE,
                "tmpfs",
                MountFlags::empty(),
                Some(options),
            )
            .map_err(|e| Error::Writable("memory".into(), e.into()))
        }
        Writable::Disk { device } => loop_device::of(device, false)
            .and_then(|disk| {
                let path = disk.path();
                let flags = MountFlags::NOATIME;
                Ok(mount(
                    path,
                    WRITABLE,
                    "ext4",
                    flags,
                    None::<&std::ffi::CStr>,
                )?)
            })
            .map_err(|e| Error::Writable(device.clone(), e)),
        Writable::Folder { mount } => loop_device::inherited(mount)
            .and_then(|found| Ok(place(&found.ok_or(io::ErrorKind::NotFound)?, WRITABLE)?))
            .map_err(|e| Error::Writable(mount.clone(), e)),
    }
}

/// Unmounts what nothing uses. A guest's process lets go of its files a moment after its end has been told, and nothing tells when.
fn unmount_free(path: &Path) -> Result<(), Errno> {
    for _ in 0..MOMENTS {
        match unmount(path, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) => std::thread::sleep(MOMENT),
            result => return result,
        }
    }
    Err(Errno::BUSY)
}

fn make_folder(name: &str) -> Result<(), Error> {
    match rustix::fs::mkdir(name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(Error::Folder(name.into(), e.into())),
    }
}

fn enter(folder: &Path) -> Result<(), Error> {
    rustix::process::chdir(folder).map_err(|e| Error::Folder(folder.to_owned(), e.into()))
}

/// Removes a container's folder. Only for one whose root file system is unmounted: a mounted one would be emptied.
pub fn remove_folder(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            crate::console::warn("a container's folder could not be removed", &e);
        }
        _ => {}
    }
}
