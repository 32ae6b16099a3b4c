//! Looking at a process through a proc of one's own: what is looked up in one that stays mounted is kept for each process, and dropped entry by
//! entry when the process ends.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// A process's folder in a proc that is gone with this value.
pub struct Glimpse {
    proc: OwnedFd,
    pid: i32,
}

impl Glimpse {
    /// Of the process `pid`.
    pub fn of(pid: i32) -> io::Result<Self> {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let proc = fsmount(&context, flags, MountAttrFlags::empty())?;
        Ok(Self { proc, pid })
    }

    /// Opens one of its files.
    pub fn open(&self, name: &str) -> io::Result<File> {
        let path = format!("{}/{name}", self.pid);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(openat(&self.proc, path, flags, Mode::empty())?.into())
    }

    /// What one of its files says, which is text.
    pub fn read(&self, name: &str) -> io::Result<String> {
        io::read_to_string(self.open(name)?)
    }
}
