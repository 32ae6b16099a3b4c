//! What a process does between its fork and its command, in order.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount_change, mount_remount, unmount,
};
use rvm_agent_protocol::Failure;

use super::command::Command;
use super::report::Reporter;
use crate::spec::{Process, Spec};

use super::{Streams, clone, devices, failure, mounts, privileges, terminal};

/// Makes the caller a container's first process. Returns only why it could not.
pub fn first(
    spec: &Spec,
    root: &Path,
    namespaces: i32,
    streams: &Streams,
    reporter: &Reporter,
    start: &OwnedFd,
) -> Failure {
    match enclose(spec, root, namespaces, streams) {
        Ok(()) => become_command(&spec.process, reporter, start),
        Err(failure) => failure,
    }
}

/// Makes the caller a further process of the container of the process `init`. Returns only why it could not.
pub fn further(
    process: &Process,
    init: BorrowedFd<'_>,
    namespaces: i32,
    streams: &Streams,
    reporter: &Reporter,
    start: &OwnedFd,
) -> Failure {
    let joined = clone::enter(init, namespaces)
        .map_err(|e| failure("the container's namespaces could not be joined", &e))
        .and_then(|()| session(process, streams, false));
    match joined {
        Ok(()) => become_command(process, reporter, start),
        Err(failure) => failure,
    }
}

/// Gives the container its names, its root and what is in it.
fn enclose(spec: &Spec, root: &Path, namespaces: i32, streams: &Streams) -> Result<(), Failure> {
    let step = |what: &'static str| move |e: Errno| failure(what, &e.into());
    if namespaces & libc::CLONE_NEWCGROUP != 0 {
        // Only now: the group of the caller becomes the root of the namespace, and at the fork that was the agent's.
        // SAFETY: unshare takes no pointers.
        if unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } < 0 {
            return Err(failure(
                "the control groups could not be separated",
                &io::Error::last_os_error(),
            ));
        }
    }
    if namespaces & libc::CLONE_NEWUTS != 0 {
        if let Some(name) = &spec.hostname {
            rustix::system::sethostname(name.as_bytes())
                .map_err(step("the host name could not be set"))?;
        }
        if let Some(name) = &spec.domainname {
            rustix::system::setdomainname(name.as_bytes())
                .map_err(step("the domain name could not be set"))?;
        }
    }
    // Nothing that is mounted from here on shall reach the agent.
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .map_err(step("the mounts could not be separated"))?;
    // What is bound has to be taken while it can be seen; it is put into place where only the container can be.
    let sources = mounts::take_sources(&spec.mounts)?;
    rustix::process::chdir(root).map_err(step("the root could not be entered"))?;
    rustix::process::pivot_root(".", ".").map_err(step("the root could not be changed"))?;
    unmount(".", UnmountFlags::DETACH).map_err(step("the old root could not be left"))?;
    rustix::process::chdir("/").map_err(step("the new root could not be entered"))?;
    mounts::mount_all(&spec.mounts, sources)?;
    devices::make(&spec.linux.devices)?;
    session(&spec.process, streams, true)?;
    for (name, value) in &spec.linux.sysctl {
        crate::guest::set_parameter(name, value)
            .map_err(|e| failure(&format!("the kernel parameter {name}"), &e))?;
    }
    if spec.root.readonly {
        mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, c"")
            .map_err(step("the root could not be made read-only"))?;
    }
    mounts::protect(&spec.linux.readonly_paths, &spec.linux.masked_paths)
}

/// Begins a session with the process's standard streams.
fn session(process: &Process, streams: &Streams, first: bool) -> Result<(), Failure> {
    rustix::process::setsid().map_err(|e| failure("a session could not be begun", &e.into()))?;
    let result = match streams {
        Streams::Pipes(given) => given.iter().zip(0..).try_for_each(|(from, to)| {
            // SAFETY: dup2 takes no pointers; 0, 1 and 2 belong to nobody but the standard streams.
            match unsafe { libc::dup2(from.as_raw_fd(), to) } {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            }
        }),
        Streams::Terminal(socket) => terminal::set_up(socket, process.user.uid, first),
    };
    result.map_err(|e| failure("the standard streams could not be set up", &e))
}

/// Gives up what the process may not have, waits for the start, and becomes the command.
fn become_command(process: &Process, reporter: &Reporter, start: &OwnedFd) -> Failure {
    let prepared = privileges::apply(process).and_then(|()| Command::find(process));
    let command = match prepared {
        Ok(command) => command,
        Err(failure) => return failure,
    };
    reporter.ready();
    let mut byte = [0];
    loop {
        match rustix::io::read(start, &mut byte) {
            Ok(1) => return command.execute(),
            Err(Errno::INTR) => {}
            // The agent has forgotten this container.
            _ => return failure("the start", &io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
