//! The lock on a container: the right to change it, and the sign that its monitor lives.
//!
//! The lock is an open file description's (flock), so whoever starts a monitor hands it on by inheritance without a gap,
//! and the kernel gives it up when the last holder has ended, however it ended.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FlockOperation, flock};

use crate::root::ContainerFolder;

/// The held lock of one container.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock; `None` when someone has it.
    pub fn try_take(folder: &ContainerFolder) -> io::Result<Option<Self>> {
        Self::take_with(folder, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock, waiting for whoever has it.
    pub fn take(folder: &ContainerFolder) -> io::Result<Self> {
        loop {
            if let Some(lock) = Self::take_with(folder, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    fn take_with(folder: &ContainerFolder, operation: FlockOperation) -> io::Result<Option<Self>> {
        folder.make()?;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.lock())?;
        match rustix::io::retry_on_intr(|| flock(&file, operation)) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down the process that holds the lock.
    pub fn sign(&mut self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.seek(SeekFrom::Start(0))?;
        write!(self.0, "{}", std::process::id())
    }

    /// The lock that another process has handed on.
    pub fn inherited(fd: OwnedFd) -> Self {
        Self(fd.into())
    }

    /// A further descriptor of the same lock, for a process to inherit.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

/// The process that has signed the lock, if the lock is held.
pub fn holder(folder: &ContainerFolder) -> io::Result<Option<i32>> {
    let mut text = String::new();
    File::open(folder.lock())?.read_to_string(&mut text)?;
    Ok(match Lock::try_take(folder)? {
        Some(_) => None,
        None => text.parse().ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_its_last_descriptor_closes() {
        let folder = tempfile::tempdir().expect("folder");
        let root = crate::root::Root::open(Some(folder.path().into())).expect("root");
        let folder = root.container(&crate::id::ContainerId::random().expect("id"));
        let mut lock = Lock::try_take(&folder).expect("lock").expect("free");
        lock.sign().expect("sign");
        let shared = lock.share().expect("share");
        drop(lock);
        assert!(Lock::try_take(&folder).expect("lock").is_none());
        assert_eq!(
            holder(&folder).expect("holder"),
            Some(std::process::id() as i32)
        );
        drop(shared);
        assert!(Lock::try_take(&folder).expect("lock").is_some());
    }
}
