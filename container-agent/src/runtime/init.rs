//! What a process does between its fork and its command, in order.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount_change, mount_remount, unmount,
};
use rvm_agent_protocol::{Failure, Filter, PrepareOf};

use super::command::Command;
use super::report::Reporter;
use crate::spec::{Process, Spec};
use crate::stdio::{Given, Offered};

use super::identity::Told;
use super::warm::warm;
use super::{Streams, clone, devices, failure, hold, mounts, privileges, reaper, terminal};

/// Makes the caller a container's first process. Returns only why it could not.
pub fn first(
    request: &PrepareOf<Spec>,
    root: &Path,
    namespaces: i32,
    streams: Offered,
    reporter: &Reporter,
    start: &OwnedFd,
) -> Failure {
    let filter = &request.filter;
    let enclosed = enclose(&request.spec, root, namespaces).and_then(|()| {
        // Compiling it takes the kernel as long as much of the rest.
        let program: &[u64] = if filter.early { &filter.program } else { &[] };
        privileges::install(program)
    });
    if let Err(failure) = enclosed {
        return failure;
    }
    if let Some(program) = &request.program {
        warm(program);
    }
    reporter.ready();
    let told = match Told::receive(start) {
        Ok(told) => told,
        // The agent has forgotten this container.
        Err(e) => return failure("the process was not told who it is", &e),
    };
    match identify(&told, streams) {
        Ok(()) => {
            let program: &[u64] = if filter.early { &[] } else { &filter.program };
            become_command(&told.process, program, told.options.init, reporter, start)
        }
        Err(failure) => failure,
    }
}

/// Gives the process its standard streams.
fn identify(told: &Told, streams: Offered) -> Result<(), Failure> {
    if told.options.hold {
        hold::stop_at_exec().map_err(|e| failure("the process could not be held", &e))?;
    }
    let streams = streams
        .choose(told.process.terminal, told.stdin)
        .map_err(|e| failure("the standard streams could not be set up", &e))?;
    session(&told.process, &streams, true)
}

/// Makes the caller a further process of the container of the process `init`. Returns only why it could not. What it becomes is put into
/// `command`, whose owner frees it.
pub fn further(
    process: &Process,
    filter: &Filter,
    init: BorrowedFd<'_>,
    namespaces: i32,
    streams: &Streams,
    command: &mut Option<Command>,
) -> Failure {
    let prepared = clone::enter(init, namespaces)
        .map_err(|e| failure("the container's namespaces could not be joined", &e))
        .and_then(|()| session(process, streams, false))
        .and_then(|()| privileges::apply(process, &filter.program))
        .and_then(|()| Command::find(process));
    match prepared {
        Ok(found) => command.insert(found).execute(),
        Err(failure) => failure,
    }
}

/// Gives the container its root and what is in it.
fn enclose(spec: &Spec, root: &Path, namespaces: i32) -> Result<(), Failure> {
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
    // Nothing that is mounted from here on shall reach the agent.
    separate_mounts().map_err(step("the mounts could not be separated"))?;
    // What is bound has to be taken while it can be seen; it is put into place where only the container can be.
    let sources = mounts::take_sources(&spec.mounts)?;
    let hierarchies = crate::cgroup::hierarchies::of_caller()
        .map_err(|e| failure("the control groups could not be told", &e))?;
    rustix::process::chdir(root).map_err(step("the root could not be entered"))?;
    rustix::process::pivot_root(".", ".").map_err(step("the root could not be changed"))?;
    rustix::process::chdir("/").map_err(step("the new root could not be entered"))?;
    mounts::mount_all(&spec.mounts, sources, &hierarchies)?;
    // It lies over the new one, whose paths do not lead there. In a user namespace proc and sysfs are only mounted while there is another
    // one that hides nothing.
    unmount(".", UnmountFlags::DETACH).map_err(step("the old root could not be left"))?;
    devices::make(&spec.linux.devices)?;
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

/// Has the caller read and write these.
pub fn standard_streams(given: &Given) -> io::Result<()> {
    given.iter().zip(0..).try_for_each(|(from, to)| {
        // SAFETY: dup2 takes no pointers; 0, 1 and 2 belong to nobody but the standard streams.
        match unsafe { libc::dup2(from.as_raw_fd(), to) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    })
}

/// Keeps what the caller mounts from others.
pub fn separate_mounts() -> Result<(), Errno> {
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
}

/// Begins a session with the process's standard streams.
fn session(process: &Process, streams: &Streams, first: bool) -> Result<(), Failure> {
    rustix::process::setsid().map_err(|e| failure("a session could not be begun", &e.into()))?;
    let result = match streams {
        Streams::Pipes(given) => standard_streams(given),
        Streams::Terminal(socket) => terminal::set_up(socket, process.user.uid, first),
    };
    result.map_err(|e| failure("the standard streams could not be set up", &e))
}

/// Gives up what the process may not have, waits for the start, and becomes the command; with a `reaper`, in a child.
fn become_command(
    process: &Process,
    filter: &[u64],
    reaper: bool,
    reporter: &Reporter,
    start: &OwnedFd,
) -> Failure {
    let prepared = privileges::apply(process, filter).and_then(|()| Command::find(process));
    let command = match prepared {
        Ok(command) => command,
        Err(failure) => return failure,
    };
    if reaper && let Err(e) = reaper::split(process.terminal) {
        return failure("the init process could not be forked", &e);
    }
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
