//! Makes processes of containers after the OCI runtime specification, with one fork each.

pub mod capability;
mod clone;
mod command;
mod devices;
mod glimpse;
pub mod hold;
pub mod identity;
mod init;
mod mounts;
pub mod pins;
mod privileges;
pub mod reaper;
mod report;
mod seccomp;
pub mod terminal;
mod warm;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rvm_agent_protocol::{Failure, FailureKind, Filter, PrepareOf};

use crate::cgroup::Entry;
use crate::machine::Machine;
use crate::spec::{Process, Spec};
use crate::stdio::{Given, Offered};
use clone::Fork;
use hold::Held;
use identity::Identity;
use report::{Report, Reporter};

/// What a process gets as its standard streams.
pub enum Streams {
    /// These descriptors.
    Pipes(Given),
    /// A terminal, whose master is sent to this socket.
    Terminal(OwnedFd),
}

/// A process in a container, which waits to be told who it is.
pub struct Prepared(Waiting);

impl Prepared {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Tells it, and waits until it is ready to become its command.
    pub fn identify(mut self, identity: &Identity<'_>) -> Result<Waiting, Failure> {
        // A process that has ended meanwhile shows in the report.
        let _ = identity.send(&self.0.start);
        self.0.report.ready()?;
        Ok(self.0)
    }
}

/// A process that waits to become its command.
pub struct Waiting {
    pid: i32,
    report: Report,
    start: OwnedFd,
}

impl Waiting {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Lets it become its command, which stops at once as it was told to.
    pub fn hold(self) -> Result<Held, Failure> {
        let pid = self.pid;
        self.start()?;
        Held::wait(pid)
    }

    /// Lets it become its command; an error says why it could not.
    pub fn start(self) -> Result<(), Failure> {
        // A process that has ended meanwhile shows in the report.
        let _ = rustix::io::write(&self.start, b"s");
        drop(self.start);
        self.report.outcome()
    }
}

/// Makes a container's first process, up to the point where it waits to be told who it is. `streams` are taken by the process.
pub fn prepare(
    request: &PrepareOf<Spec>,
    root: &Path,
    cgroup: Entry<'_>,
    streams: Offered,
) -> Result<Prepared, Failure> {
    let namespaces = namespaces(&request.spec)?;
    fork(
        namespaces & !libc::CLONE_NEWCGROUP,
        cgroup,
        |reporter, start| init::first(request, root, namespaces, streams, reporter, start),
    )
    .map(Prepared)
}

/// Makes a further process in the container whose first process is `init`; its process id.
pub fn join(
    process: &Process,
    spec: &Spec,
    filter: &Filter,
    init: i32,
    (machine, cgroup): (Machine, Entry<'_>),
    streams: &Streams,
) -> Result<i32, Failure> {
    let namespaces = namespaces(spec)?;
    let init = open_process(init)?;
    if namespaces & libc::CLONE_NEWPID != 0 {
        // Only children of the caller enter a process namespace: those that it has from now on.
        clone::enter(init.as_fd(), libc::CLONE_NEWPID)
            .map_err(|e| failure("the container's processes could not be joined", &e))?;
    }
    let mut command = None;
    let further = || {
        let others = namespaces & !libc::CLONE_NEWPID;
        init::further(process, filter, init.as_fd(), others, streams, &mut command)
    };
    let made = match machine {
        Machine::Own => lend(cgroup, further),
        // Who may trace processes in a container must not get hold of the agent's memory, which is the host's.
        Machine::Host | Machine::Borrowed => fork_further(cgroup, further),
    };
    if namespaces & libc::CLONE_NEWPID != 0 {
        let back = open_process(std::process::id() as i32).and_then(|own| {
            clone::enter(own.as_fd(), libc::CLONE_NEWPID)
                .map_err(|e| failure("the own processes could not be joined", &e))
        });
        if let Err(e) = back {
            crate::console::say(&e.message);
        }
    }
    made
}

/// Forks a process of the agent's own, with these standard streams and mounts of its own: those of the process `of`, where there
/// is one. Its exit code is what `work` returns.
pub fn work(streams: &Given, of: Option<i32>, work: impl FnOnce() -> u8) -> Result<i32, Failure> {
    let of = of.map(open_process).transpose()?;
    let namespaces = if of.is_none() { libc::CLONE_NEWNS } else { 0 };
    match clone::fork(namespaces, None) {
        Err(e) => Err(failure("the process could not be forked", &e)),
        Ok(Fork::Parent(pid)) => Ok(pid),
        Ok(Fork::Child) => {
            let _ = rustix::thread::set_name(crate::shutdown::FORKED);
            crate::child::unblock_signals();
            let entered = init::standard_streams(streams).and_then(|()| match &of {
                Some(process) => clone::enter(process.as_fd(), libc::CLONE_NEWNS),
                None => init::separate_mounts().map_err(io::Error::from),
            });
            let code = match entered {
                Ok(()) => {
                    // The agent's connections are not this process's to keep open.
                    // SAFETY: close_range takes no pointers, and nobody uses these descriptors in this process any more.
                    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
                    work()
                }
                Err(e) => {
                    let sentence = command::reason(&e);
                    let _ = rustix::io::write(rustix::stdio::stderr(), sentence.as_bytes());
                    1
                }
            };
            // SAFETY: ends the process without running the agent's destructors.
            unsafe { libc::_exit(code.into()) }
        }
    }
}

/// Makes a further process that has the agent's memory until it becomes its command.
fn lend(cgroup: Entry<'_>, further: impl FnOnce() -> Failure) -> Result<i32, Failure> {
    let work = || {
        let _ = rustix::thread::set_name(crate::shutdown::FORKED);
        match clone::join(cgroup) {
            Ok(()) => further(),
            Err(e) => failure("the control group could not be entered", &e),
        }
    };
    match clone::lend(cgroup, work) {
        Err(e) => Err(failure("the process could not be made", &e)),
        Ok(Err((pid, failure))) => {
            end(pid);
            Err(failure)
        }
        Ok(Ok(pid)) => Ok(pid),
    }
}

/// Makes a further process that has a copy of the agent's memory until it becomes its command.
fn fork_further(cgroup: Entry<'_>, further: impl FnOnce() -> Failure) -> Result<i32, Failure> {
    let waiting = fork(0, cgroup, |reporter, _| {
        reporter.ready();
        further()
    })?;
    let pid = waiting.pid();
    waiting.start()?;
    Ok(pid)
}

fn fork(
    namespaces: i32,
    cgroup: Entry<'_>,
    child: impl FnOnce(&Reporter, &OwnedFd) -> Failure,
) -> Result<Waiting, Failure> {
    let pipe = || {
        pipe_with(PipeFlags::CLOEXEC).map_err(|e| failure("a pipe could not be made", &e.into()))
    };
    let (report, write) = pipe()?;
    let (wait, start) = pipe()?;
    match clone::fork(namespaces, Some(cgroup)) {
        Err(e) => Err(failure("the process could not be forked", &e)),
        Ok(Fork::Child) => {
            // The agent's copy alone keeps it open, so that the agent's end ends the waiting.
            drop((report, start));
            // Only a panic would miss it.
            let _ = rustix::thread::set_name(crate::shutdown::FORKED);
            let reporter = Reporter::new(write);
            let failure = match clone::join(cgroup) {
                Ok(()) => child(&reporter, &wait),
                Err(e) => failure("the control group could not be entered", &e),
            };
            reporter.failed(&failure);
            // SAFETY: ends the process without running the agent's destructors.
            unsafe { libc::_exit(255) }
        }
        Ok(Fork::Parent(pid)) => {
            drop((write, wait));
            let mut report = Report::new(report);
            match report.ready() {
                Ok(()) => Ok(Waiting { pid, report, start }),
                Err(failure) => {
                    end(pid);
                    Err(failure)
                }
            }
        }
    }
}

/// Ends a process that could not be set up, so that its control group is empty.
fn end(pid: i32) {
    // SAFETY: kill and waitpid get no pointers but null, which waitpid allows; the child has not been waited for.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
}

fn open_process(pid: i32) -> Result<OwnedFd, Failure> {
    let pid = Pid::from_raw(pid)
        .ok_or_else(|| failure("a process id", &io::ErrorKind::InvalidInput.into()))?;
    pidfd_open(pid, PidfdFlags::empty())
        .map_err(|e| failure("the process could not be opened", &e.into()))
}

/// The clone flags of the namespaces that a container has to itself.
fn namespaces(spec: &Spec) -> Result<i32, Failure> {
    let mut flags = 0;
    for namespace in &spec.linux.namespaces {
        flags |= match namespace.kind.as_str() {
            _ if namespace.path.is_some() => return Err(unsupported("a namespace with a path")),
            "mount" => libc::CLONE_NEWNS,
            "pid" => libc::CLONE_NEWPID,
            "ipc" => libc::CLONE_NEWIPC,
            "uts" => libc::CLONE_NEWUTS,
            "network" => libc::CLONE_NEWNET,
            "cgroup" => libc::CLONE_NEWCGROUP,
            other => return Err(unsupported(&format!("a namespace of the kind {other}"))),
        };
    }
    if flags & libc::CLONE_NEWNS == 0 {
        return Err(unsupported("a container without a mount namespace"));
    }
    Ok(flags)
}

fn unsupported(what: &str) -> Failure {
    Failure {
        kind: FailureKind::Other,
        message: format!("the specification asks for {what}, which rvm does not offer"),
    }
}

fn failure(what: &str, error: &io::Error) -> Failure {
    Failure {
        kind: FailureKind::Other,
        message: format!("{what}: {}", command::reason(error)),
    }
}
