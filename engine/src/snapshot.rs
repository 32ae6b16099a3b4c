//! Saved guests in a folder, each in one of its own: what is told of it, the machine's state, its memory, and the disk that it has mounted.
//! Templates and checkpoints are such.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rvm_vmm::control::Command;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::disk;
use crate::microvm::{ControlError, Controller, Origin};

/// The state of the machine.
pub const STATE: &str = "state";
const MEMORY: &str = "memory";
const DISK: &str = "disk";
/// What a snapshot's folder is called before it is whole, and once it is to go.
const UNFINISHED: &str = ".unfinished-";

/// Snapshots in a folder, by their names.
#[derive(Clone, Debug)]
pub struct Snapshots {
    folder: PathBuf,
    /// The name of the file that tells of one.
    about: &'static str,
}

/// A snapshot, opened.
#[derive(Debug)]
pub struct Snapshot {
    /// The state of the machine.
    pub state: File,
    /// Its memory.
    pub memory: File,
    /// The disk of what the guest has written, if it has one and has mounted it.
    pub disk: Option<File>,
}

/// Why a guest could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A file or a folder.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The VMM.
    #[error(transparent)]
    Vmm(#[from] ControlError),
}

impl Snapshots {
    /// Those in `folder`, which need not be there yet. `about` is the name of the file that tells of one.
    pub fn of(folder: PathBuf, about: &'static str) -> Self {
        Self { folder, about }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where one is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Opens one.
    pub fn open(&self, name: &str) -> io::Result<Snapshot> {
        let folder = self.path(name);
        Ok(Snapshot {
            state: File::open(folder.join(STATE))?,
            memory: File::open(folder.join(MEMORY))?,
            disk: File::open(folder.join(DISK)).ok(),
        })
    }

    /// What is told of one.
    pub fn about<T: DeserializeOwned>(&self, name: &str) -> io::Result<T> {
        Ok(serde_json::from_reader(File::open(
            self.path(name).join(self.about),
        )?)?)
    }

    /// What one takes on the disk, in bytes.
    pub fn size(&self, name: &str) -> io::Result<u64> {
        let folder = self.path(name);
        let blocks = |file: &str| Ok::<_, io::Error>(fs::metadata(folder.join(file))?.blocks());
        Ok(512 * (blocks(STATE)? + blocks(MEMORY)? + blocks(DISK).unwrap_or(0)))
    }

    /// Saves the guest of the VMM `pid`, and the disk that it has mounted. The guest stands still meanwhile. The error is that the folder is
    /// not empty when somebody else was quicker.
    pub fn make(
        &self,
        name: &str,
        about: &impl Serialize,
        (vm, pid): (&Controller, u32),
        disk: Option<&File>,
    ) -> Result<(), SaveError> {
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e.into()),
            _ => {}
        }
        self.sweep();
        let unfinished = self.unfinished()?;
        let create = |name: &str| File::create_new(unfinished.path().join(name));
        let (state, memory) = (create(STATE)?, create(MEMORY)?);
        // For as long as this is held, the folder is somebody's.
        state.lock()?;
        serde_json::to_writer(create(self.about)?, about).map_err(io::Error::from)?;
        let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
        let files = [state.as_fd(), memory.as_fd(), pagemap.as_fd()];
        vm.command(&Command::Pause)?;
        let saved = vm
            .command_with(&Command::Snapshot, &files)
            .map_err(SaveError::from)
            .and_then(|()| match disk {
                // While the guest stands still, so that its disk is as its memory remembers it.
                Some(disk) => Ok(disk::copy_sparse(disk, &create(DISK)?)?),
                None => Ok(()),
            });
        vm.command(&Command::Resume)?;
        saved?;
        Ok(fs::rename(unfinished.path(), self.path(name))?)
    }

    /// Removes one. Guests that go on from it keep what they have mapped.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        // Out of the way in one step, so that nobody opens half of it.
        let aside = self.unfinished()?;
        fs::rename(self.path(name), aside.path().join(STATE))
    }

    fn unfinished(&self) -> io::Result<TempDir> {
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.folder)
    }

    /// Removes what was left by those who were killed while they saved a guest.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            let abandoned = unfinished
                && File::open(entry.path().join(STATE)).is_ok_and(|state| state.try_lock().is_ok());
            if abandoned && let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(%error, "an unfinished snapshot could not be removed");
            }
        }
    }
}

impl Snapshot {
    /// What a microVM starts from that goes on from it, and the disk that it had.
    pub fn into_origin(self) -> (Origin, Option<File>) {
        let origin = Origin::Snapshot {
            state: self.state,
            memory: self.memory,
        };
        (origin, self.disk)
    }
}
