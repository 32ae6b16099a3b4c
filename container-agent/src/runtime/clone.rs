//! Forking into new namespaces and a control group with one system call, and entering those of others.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::cgroup::Entry;

/// From linux/sched.h; the constant of libc is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// On which side of a fork the caller finds itself.
pub enum Fork {
    /// The new process.
    Child,
    /// The old one, with the new one's id.
    Parent(i32),
}

/// Forks; the child is born in new namespaces and in the control group, or has to [`join`] it.
pub fn fork(namespaces: i32, cgroup: Option<Entry<'_>>) -> io::Result<Fork> {
    // SAFETY: clone_args is plain integers.
    let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
    arguments.flags = namespaces as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(Entry::Folder(cgroup)) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is a fork, and the agent has only this thread: the child may go on as the parent did.
    match unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            mem::size_of_val(&arguments),
        )
    } {
        0 => Ok(Fork::Child),
        pid if pid > 0 => Ok(Fork::Parent(pid as i32)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Enters namespaces of the process behind a pidfd.
pub fn enter(process: BorrowedFd<'_>, namespaces: i32) -> io::Result<()> {
    // SAFETY: setns takes no pointers.
    match unsafe { libc::setns(process.as_raw_fd(), namespaces) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Brings the caller into a control group that nobody is born in.
pub fn join(cgroup: Entry<'_>) -> io::Result<()> {
    let Entry::Files(files) = cgroup else {
        return Ok(());
    };
    for file in files {
        // Whoever writes.
        rustix::io::write(file, b"0")?;
    }
    Ok(())
}
