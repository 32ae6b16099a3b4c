//! A first process that is not the command: it reaps what is left to it, passes signals on, and ends with the command.

use std::io;
use std::mem;
use std::ptr;

/// Forks. The child returns, to become the command; the caller, process 1 of the container, stays as its init and ends with it.
///
/// With a `terminal` the child's process group becomes the one in the foreground.
pub fn split(terminal: bool) -> io::Result<()> {
    // SAFETY: a signal set is plain bits, and every call gets pointers to initialised sets of this frame, or null where that
    // is allowed. The process has one thread, so that a forked child may go on as its parent did.
    unsafe {
        let (mut all, mut before) = (mem::zeroed(), mem::zeroed());
        libc::sigfillset(&raw mut all);
        // Blocked signals wait, even those that process 1 would ignore.
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, &raw mut before);
        // By the old system call: Docker's seccomp profile has no clone3.
        match libc::fork() {
            -1 => {
                let error = io::Error::last_os_error();
                libc::sigprocmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
                Err(error)
            }
            0 => {
                libc::setpgid(0, 0);
                if terminal {
                    libc::tcsetpgrp(0, libc::getpid());
                }
                libc::sigprocmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
                Ok(())
            }
            child => {
                // Only `top` would miss it.
                let _ = rustix::thread::set_name(c"init");
                // The pipes on which the agent hears of the child are the child's alone.
                libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
                let code = wait_for(child, &all);
                libc::_exit(code)
            }
        }
    }
}

/// Passes every signal on to `child` and reaps every process until `child` has ended; the exit code that says how.
fn wait_for(child: libc::pid_t, signals: &libc::sigset_t) -> libc::c_int {
    loop {
        // SAFETY: the set is initialised, and null is allowed for what is told of the signal.
        let signal = unsafe { libc::sigwaitinfo(ptr::from_ref(signals), ptr::null_mut()) };
        match signal {
            // Interrupted.
            -1 => {}
            libc::SIGCHLD => {
                if let Some(code) = reap(child) {
                    return code;
                }
            }
            signal => {
                // SAFETY: kill takes no pointers; the child has not been waited for, so that the id is still its.
                unsafe { libc::kill(child, signal) };
            }
        }
    }
}

/// Waits for all that have ended; the exit code if `child` is among them.
fn reap(child: libc::pid_t) -> Option<libc::c_int> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            ended if ended == child => {
                return Some(if libc::WIFSIGNALED(status) {
                    128 + libc::WTERMSIG(status)
                } else {
                    libc::WEXITSTATUS(status)
                });
            }
            1.. => {}
            _ => return None,
        }
    }
}
