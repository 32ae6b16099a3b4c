//! `rvm-monitor`: the process beside a container, started by `rvm`. A program of its own, because there is one for each container: nothing
//! of the command line is in its memory.

mod log;

use std::ffi::OsString;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rvm_engine::error::chain;
use rvm_engine::id::ContainerId;
use rvm_engine::lifecycle::{MONITOR_CLIENT_FD, MONITOR_LOCK_FD};
use rvm_engine::monitor::{self, Inherited};
use rvm_engine::name::Name;
use rvm_engine::root::Root;
use rvm_engine::timing;

fn main() -> ExitCode {
    timing::mark("monitor program begins");
    let level = std::env::var("RVM_LOG").ok();
    let level = level.and_then(|level| level.parse().ok());
    log::start(level.unwrap_or(tracing::Level::WARN));
    let Some((root, id, inherited)) = arguments() else {
        eprintln!("rvm-monitor: it is started by 'rvm run', not by hand.");
        return ExitCode::from(1);
    };
    let ran = Root::open(Some(root.into())).map_err(|error| chain(&error));
    let ran =
        ran.and_then(|root| monitor::run(&root, &id, inherited).map_err(|error| chain(&error)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rvm-monitor: {error}.");
            ExitCode::from(1)
        }
    }
}

/// The root folder, the container, perhaps a checkpoint, and the descriptors that come with them.
fn arguments() -> Option<(OsString, ContainerId, Inherited)> {
    let mut words = std::env::args_os().skip(1);
    let root = words.next()?;
    let id: ContainerId = words.next()?.to_str()?.parse().ok()?;
    let checkpoint: Option<Name> = match words.next() {
        Some(name) => Some(name.to_str()?.parse().ok()?),
        None => None,
    };
    let inherited = Inherited {
        client: UnixStream::from(inherited(MONITOR_CLIENT_FD)?),
        lock: inherited(MONITOR_LOCK_FD)?,
        checkpoint,
    };
    Some((root, id, inherited))
}

fn inherited(fd: RawFd) -> Option<OwnedFd> {
    std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).ok()?;
    // SAFETY: the descriptor is open, as was just seen, and by the agreement with the command that starts this one it is for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(fd)
}
