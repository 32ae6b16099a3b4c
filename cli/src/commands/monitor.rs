//! `rvm monitor`: the process beside a container, started by `rvm run`.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use rvm_engine::id::ContainerId;
use rvm_engine::lifecycle::{MONITOR_CLIENT_FD, MONITOR_LOCK_FD};
use rvm_engine::monitor::{self, Inherited};
use rvm_engine::root::Root;

use crate::arguments::Monitor;
use crate::failure::Failure;

pub fn run(root: &Root, command: &Monitor) -> Result<u8, Failure> {
    let id: ContainerId = command.id.parse().map_err(|_| not_for_people())?;
    let client = UnixStream::from(inherited(MONITOR_CLIENT_FD)?);
    let lock = inherited(MONITOR_LOCK_FD)?;
    monitor::run(root, &id, Inherited { lock, client })?;
    Ok(0)
}

fn inherited(fd: RawFd) -> Result<OwnedFd, Failure> {
    let open = std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok();
    if !open {
        return Err(not_for_people());
    }
    // SAFETY: the descriptor is open, as was just seen, and by the agreement with the command that starts this one it is for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(std::io::Error::from)?;
    Ok(fd)
}

fn not_for_people() -> Failure {
    Failure::new(1, "'rvm monitor' is started by 'rvm run', not by hand")
}
