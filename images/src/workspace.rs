//! Private folders for work in progress: what is in them becomes visible only by renaming it away.
//!
//! A folder is locked by its owner as long as the owner lives, so that a later command can tell what a
//! killed one left behind.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A folder below the store's `tmp`, deleted with everything in it when dropped.
pub(crate) struct Workspace {
    path: PathBuf,
    _lock: File,
}

impl Workspace {
    /// Makes one in `tmp`, and deletes those whose owners are gone.
    pub(crate) fn new(tmp: &Path) -> io::Result<Self> {
        // Held until the new folder is locked: nobody takes it for an abandoned one before.
        let guard = lock_file(&tmp.join(".lock"), FlockOperation::LockExclusive)?;
        sweep(tmp)?;
        let path = tempfile::Builder::new()
            .prefix("work-")
            .tempdir_in(tmp)?
            .keep();
        let lock = File::open(&path)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        drop(guard);
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(err) = fs::remove_dir_all(&self.path) {
            tracing::warn!("{} could not be deleted: {err}", self.path.display());
        }
    }
}

fn sweep(tmp: &Path) -> io::Result<()> {
    for entry in fs::read_dir(tmp)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b"work-") {
            continue;
        }
        // Its owner may be deleting it at this moment.
        let Ok(folder) = File::open(entry.path()) else {
            continue;
        };
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            tracing::debug!("deleting {}, whose owner is gone", entry.path().display());
            match fs::remove_dir_all(entry.path()) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Opens `path`, made if it is missing, and locks it until the file is dropped.
pub(crate) fn lock_file(path: &Path, operation: FlockOperation) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    flock(&file, operation)?;
    Ok(file)
}

/// Makes `from`, already synced, appear as `to`, and makes that last.
pub(crate) fn publish(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Syncs the folder that `path` is in.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
