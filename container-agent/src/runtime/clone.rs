//! New processes in new namespaces and a control group with one system call, and entering those of others.

use std::arch::asm;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rvm_agent_protocol::Failure;

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

/// The stack of a process that [`lend`] makes; there is one such process at a time. It stays in memory for the next one.
static STACK: Mutex<Vec<u128>> = Mutex::new(Vec::new());
/// Its size in bytes.
const STACK_SIZE: usize = 256 << 10;

/// What a process gets that [`lend`] makes.
struct Loan<W> {
    work: Option<W>,
    failure: Option<Failure>,
}

/// Makes a process that has the caller's memory itself instead of a copy, and descriptors of its own, and waits until it has become
/// another program or has ended. `work` does what leads there, and returns only why it could not; what it has allocated by the time that it
/// becomes another program is never freed. A copy of the agent's memory costs several times as much as all the rest.
pub fn lend<W: FnOnce() -> Failure>(
    cgroup: Entry<'_>,
    work: W,
) -> io::Result<Result<i32, (i32, Failure)>> {
    extern "C" fn borrow<W: FnOnce() -> Failure>(loan: &mut Loan<W>) -> ! {
        loan.failure = loan.work.take().map(|work| work());
        // SAFETY: ends the process without running the agent's destructors.
        unsafe { libc::_exit(255) }
    }
    let mut loan = Loan {
        work: Some(work),
        failure: None,
    };
    let mut stack = STACK.lock().unwrap_or_else(PoisonError::into_inner);
    stack.reserve_exact(STACK_SIZE / size_of::<u128>());
    let mut arguments = arguments(libc::CLONE_VM | libc::CLONE_VFORK, Some(cgroup));
    arguments.stack = stack.as_mut_ptr().expose_provenance() as u64;
    arguments.stack_size = STACK_SIZE as u64;
    let mut result = libc::SYS_clone3;
    // SAFETY: the arguments are alive and of this size. The new process begins on a stack of its own, aligned as the ABI wants it, with a
    // call of a function that never returns; this one goes on when that has left its memory, so that stack, loan and everything that
    // `work` borrows outlive its use, and nobody else uses them meanwhile.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {loan}",
            "call {borrow}",
            "2:",
            loan = in(reg) &raw mut loan,
            borrow = in(reg) borrow::<W> as extern "C" fn(&mut Loan<W>) -> !,
            inout("rax") result,
            in("rdi") &raw const arguments,
            in("rsi") mem::size_of_val(&arguments),
            out("rcx") _,
            out("r11") _,
        );
    }
    match (result, loan.failure) {
        (error, _) if error < 0 => Err(io::Error::from_raw_os_error(-error as i32)),
        (pid, None) => Ok(Ok(pid as i32)),
        (pid, Some(failure)) => Ok(Err((pid as i32, failure))),
    }
}

fn arguments(flags: i32, cgroup: Option<Entry<'_>>) -> libc::clone_args {
    // SAFETY: clone_args is plain integers.
    let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
    arguments.flags = flags as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(Entry::Folder(cgroup)) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    arguments
}

/// Forks; the child is born in new namespaces and in the control group, or has to [`join`] it.
pub fn fork(namespaces: i32, cgroup: Option<Entry<'_>>) -> io::Result<Fork> {
    let arguments = arguments(namespaces, cgroup);
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
