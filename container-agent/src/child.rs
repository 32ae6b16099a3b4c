//! Children: learning that one has ended, and how.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::process::{Pid, WaitOptions, WaitStatus};
use rvm_agent_protocol::ExitStatus;

use crate::poll::{Poll, Role, Watched};

/// The children of PID 1.
pub struct Children {
    signals: Option<OwnedFd>,
    watched: Option<Watched>,
    /// Ended children that were collected while waiting for one of them in particular.
    ended: VecDeque<(i32, ExitStatus)>,
}

impl Children {
    /// Makes SIGCHLD an event instead of a signal.
    pub fn new() -> io::Result<Self> {
        let set = child_signal();
        // SAFETY: `set` is an initialised signal set that lives through both calls; null is allowed for the old set.
        let fd = unsafe {
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) < 0 {
                return Err(io::Error::last_os_error());
            }
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd has just made this descriptor.
        let signals = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            signals: Some(signals),
            watched: None,
            ended: VecDeque::new(),
        })
    }

    /// Reports SIGCHLD as an event of `id`.
    pub fn watch(&mut self, poll: &Poll, id: u32) -> io::Result<()> {
        if let Some(fd) = self.signals.take() {
            let mut watched = Watched::new(poll, fd, id, Role::Signals);
            watched.want_read(true)?;
            self.watched = Some(watched);
        }
        Ok(())
    }

    /// Takes the signal, so that it can be reported anew.
    pub fn acknowledge(&self) {
        let mut info = [0_u8; mem::size_of::<libc::signalfd_siginfo>()];
        if let Some(signals) = &self.watched {
            // Equal signals are merged: one read is enough, and none waiting is no error.
            let _ = rustix::io::read(signals, &mut info);
        }
    }

    /// The next child that has ended.
    pub fn next_ended(&mut self) -> Option<(i32, ExitStatus)> {
        self.ended
            .pop_front()
            .or_else(|| wait_any(WaitOptions::NOHANG))
    }

    /// Waits until the child `pid` has ended, or nobody is left to wait for; the others that end meanwhile are kept for
    /// [`Children::next_ended`].
    pub fn wait_for(&mut self, pid: i32) {
        while !self.ended.iter().any(|(ended, _)| *ended == pid) {
            match wait_any(WaitOptions::empty()) {
                Some(ended) => self.ended.push_back(ended),
                None => return,
            }
        }
    }

    /// Waits until no child is left.
    pub fn wait_all(&mut self) {
        while let Some(ended) = wait_any(WaitOptions::empty()) {
            self.ended.push_back(ended);
        }
    }
}

/// Lets a process that is about to exec have the signals that the agent blocks.
pub fn unblock_signals() {
    let set = child_signal();
    // SAFETY: `set` is an initialised signal set; null is allowed for the old one.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
}

fn child_signal() -> libc::sigset_t {
    // SAFETY: a signal set is plain bits; sigemptyset and sigaddset get a valid pointer to it.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        set
    }
}

fn wait_any(options: WaitOptions) -> Option<(i32, ExitStatus)> {
    loop {
        match rustix::process::wait(options) {
            Ok(Some((pid, status))) => return Some((Pid::as_raw(Some(pid)), exit_status(status))),
            Ok(None) => return None,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code(code as u8),
        (None, Some(signal)) => ExitStatus::Signal(signal),
        // Stopped and continued children are not asked for.
        (None, None) => ExitStatus::Code(255),
    }
}
