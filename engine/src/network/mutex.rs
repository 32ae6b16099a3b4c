//! The lock under which the host's networks are changed, by all root folders: they choose among the same subnets.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use rustix::fs::{FlockOperation, flock};

/// The file that is locked. It exists only while someone has the lock.
pub const PATH: &str = "/run/rvm-network.lock";

/// The held lock.
#[derive(Debug)]
pub struct Mutex {
    _file: File,
}

/// Takes the lock, waiting for whoever has it.
pub fn lock() -> io::Result<Mutex> {
    loop {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(PATH)?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        // Its last holder may have removed the file since it was opened; then this lock is nobody's business any more.
        let named = fs::metadata(PATH)
            .map(|metadata| (metadata.dev(), metadata.ino()))
            .ok();
        let ours = file.metadata()?;
        if named == Some((ours.dev(), ours.ino())) {
            return Ok(Mutex { _file: file });
        }
    }
}

impl Drop for Mutex {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(PATH) {
            tracing::debug!(%error, "cannot remove {PATH}");
        }
    }
}
