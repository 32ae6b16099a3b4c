//! Containers: from a request to a process that waits for its start, and back to nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use libcontainer::container::Container as Runtime;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{Process, RootBuilder, Spec};
use rvm_agent_protocol::{CONTAINERS_DIR, Create, Exec, ExitStatus, Failure, FailureKind, File};

use crate::cgroup::Cgroup;
use crate::child::Children;
use crate::command::{Command, Report, variable};
use crate::console::chain;
use crate::inside::Inside;
use crate::rootfs::{Root, remove_folder};
use crate::stdio::{self, ConsoleSocket};
use crate::stream::Ends;
use crate::user;

/// Where libcontainer keeps its state.
const STATE_DIR: &str = "/run/rvm-state";

/// The containers of this guest.
#[derive(Default)]
pub struct Containers {
    list: BTreeMap<String, Container>,
    /// Which container a further process belongs to.
    execs: BTreeMap<i32, String>,
}

struct Container {
    pid: i32,
    stream: u32,
    phase: Phase,
    runtime: Runtime,
    root: Root,
    cgroup: Cgroup,
}

enum Phase {
    Created(Report),
    Running,
    Stopped,
}

impl Containers {
    /// Makes a container up to the point where its process waits to exec.
    pub fn create(&mut self, request: Create) -> Result<(i32, Ends), Failure> {
        let id = request.id.clone();
        check_name("container id", &id)?;
        if self.list.contains_key(&id) {
            return Err(other(format!("the container {id} exists already")));
        }
        let folder = Path::new(CONTAINERS_DIR).join(&id);
        fs::create_dir(&folder).map_err(|e| other(format!("the container's folder could not be made: {e}")))?;
        let made = write_files(&folder, &request.files)
            .and_then(|()| Ok(Root::mount(&folder, &request.rootfs)?))
            .and_then(|root| self.build(request, &folder, root));
        if made.is_err() && !has_mounts(&folder) {
            remove_folder(&folder);
        }
        made
    }

    fn build(&mut self, request: Create, folder: &Path, mut root: Root) -> Result<(i32, Ends), Failure> {
        match make(request, folder, &root) {
            Ok(Made { id, runtime, pid, report, ends, cgroup }) => {
                let phase = Phase::Created(report);
                self.list.insert(id, Container { pid, stream: 0, phase, runtime, root, cgroup });
                Ok((pid, ends))
            }
            Err(failure) => {
                root.unmount();
                Err(failure)
            }
        }
    }

    /// Notes the stream of a container's first process.
    pub fn set_stream(&mut self, pid: i32, stream: u32) {
        if let Some(container) = self.list.values_mut().find(|c| c.pid == pid) {
            container.stream = stream;
        }
    }

    /// The stream of a container's first process.
    pub fn stream(&self, id: &str) -> Result<u32, Failure> {
        self.list.get(id).map(|c| c.stream).ok_or_else(|| no_container(id))
    }

    /// Lets a container's process become its command.
    pub fn start(&mut self, id: &str) -> Result<(), Failure> {
        let container = self.list.get_mut(id).ok_or_else(|| no_container(id))?;
        match std::mem::replace(&mut container.phase, Phase::Running) {
            Phase::Created(report) => {
                container.runtime.start().map_err(|e| other(format!("the container could not be started: {}", chain(&e))))?;
                report.wait().map_or(Ok(()), Err)
            }
            phase => {
                container.phase = phase;
                Err(not_in_state(id, "waiting to be started"))
            }
        }
    }

    /// Runs a further process in a container.
    pub fn exec(&mut self, request: Exec) -> Result<(i32, Ends), Failure> {
        let id = request.id.clone();
        let container = self.list.get(&id).ok_or_else(|| no_container(&id))?;
        if !matches!(container.phase, Phase::Running) {
            return Err(not_in_state(&id, "running"));
        }
        let folder = Path::new(CONTAINERS_DIR).join(&id);
        let (pid, ends) = add_process(request, &folder, container.pid)?;
        self.execs.insert(pid, id);
        Ok((pid, ends))
    }

    /// Sends a signal to a container's first process, or to all.
    pub fn signal(&mut self, id: &str, signal: i32, all: bool) -> Result<(), Failure> {
        let container = self.list.get(id).ok_or_else(|| no_container(id))?;
        if matches!(container.phase, Phase::Stopped) {
            return Err(not_in_state(id, "running"));
        }
        let result = if all {
            container.cgroup.signal(signal)
        } else {
            // SAFETY: kill takes no pointers; the process is a child that has not been waited for, so the id is still its.
            match unsafe { libc::kill(container.pid, signal) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        result.map_err(|e| other(format!("signal {signal} could not be sent to the container {id}: {e}")))
    }

    /// Ends what is left of a container and forgets it.
    pub fn delete(&mut self, id: &str, children: &mut Children) -> Result<(), Failure> {
        let mut container = self.list.remove(id).ok_or_else(|| no_container(id))?;
        if !matches!(container.phase, Phase::Stopped) {
            // The end of the first process ends the others of its namespace; the group has those that share the guest's.
            // SAFETY: as in `signal`.
            unsafe { libc::kill(container.pid, libc::SIGKILL) };
            let _ = container.cgroup.signal(libc::SIGKILL);
            children.wait_for(container.pid);
        }
        container.remove(id);
        Ok(())
    }

    /// Ends every container, and unmounts their disks.
    pub fn end_all(&mut self, children: &mut Children) {
        // SAFETY: kill takes no pointers; for PID 1, all processes are all others.
        unsafe { libc::kill(-1, libc::SIGKILL) };
        children.wait_all();
        for container in self.list.values_mut() {
            container.root.unmount();
        }
        rustix::fs::sync();
    }

    /// Notes that a child has ended; how, if memory had to do with it.
    pub fn ended(&mut self, pid: i32, status: ExitStatus) -> ExitStatus {
        let container = match self.execs.remove(&pid) {
            Some(id) => self.list.get_mut(&id),
            None => self.list.values_mut().find(|c| c.pid == pid),
        };
        let Some(container) = container else {
            return status;
        };
        if container.pid == pid {
            container.phase = Phase::Stopped;
        }
        if status == ExitStatus::Signal(libc::SIGKILL) && container.cgroup.has_run_out_of_memory() {
            return ExitStatus::OutOfMemory;
        }
        status
    }
}

impl Container {
    fn remove(&mut self, id: &str) {
        self.cgroup.remove();
        remove_folder(&Path::new(STATE_DIR).join(id));
        if self.root.unmount() {
            remove_folder(&Path::new(CONTAINERS_DIR).join(id));
        }
    }
}

struct Made {
    id: String,
    runtime: Runtime,
    pid: i32,
    report: Report,
    ends: Ends,
    cgroup: Cgroup,
}

/// Turns a request into a specification of this guest's and has libcontainer make it.
fn make(request: Create, folder: &Path, root: &Root) -> Result<Made, Failure> {
    let Create { id, mut spec, user, stdin, .. } = request;
    let inside = Inside::open(&root.path()).map_err(|e| other(format!("the root file system cannot be opened: {e}")))?;
    let process = spec.process_mut().as_mut().ok_or_else(|| other("the specification has no process".into()))?;
    apply_user(process, &user, &inside)?;
    inside.make_folder(process.cwd()).map_err(|e| {
        other(format!("the working directory {} could not be made: {e}", process.cwd().display()))
    })?;
    let terminal = process.terminal().unwrap_or(false);
    let owner = process.user().uid();
    let cgroup = adapt(&mut spec, &id, root)?;
    save(&folder.join("config.json"), &spec)?;
    fs::create_dir_all(STATE_DIR).map_err(|e| other(format!("{STATE_DIR} could not be made: {e}")))?;

    let io = Io::new(terminal, stdin, owner, folder)?;
    let (mut report, write) = Report::new().map_err(|e| other(e.to_string()))?;
    let built = builder(&id, &io, &write)?.as_init(folder).with_systemd(false).build();
    drop(write);
    let runtime = built.map_err(|e| report.so_far().unwrap_or_else(|| runtime_failure(&e)))?;
    let pid = runtime.pid().map(|pid| pid.as_raw()).ok_or_else(|| other("the container has no process".into()))?;
    Ok(Made { id, runtime, pid, report, ends: io.ends(stdin, owner)?, cgroup })
}

/// Has libcontainer start a process in the container of the process `init`.
fn add_process(request: Exec, folder: &Path, init: i32) -> Result<(i32, Ends), Failure> {
    let Exec { id, mut process, user, stdin, .. } = request;
    let root = PathBuf::from(format!("/proc/{init}/root"));
    let inside = Inside::open(&root).map_err(|e| other(format!("the container's root cannot be opened: {e}")))?;
    apply_user(&mut process, &user, &inside)?;
    let owner = process.user().uid();
    let terminal = process.terminal().unwrap_or(false);
    let file = folder.join("process.json");
    save(&file, &process)?;

    let io = Io::new(terminal, stdin, owner, folder)?;
    let (report, write) = Report::new().map_err(|e| other(e.to_string()))?;
    let built = builder(&id, &io, &write)?.as_tenant().with_process(Some(file)).with_detach(true).build();
    drop(write);
    let ends = match built {
        Ok(pid) => (pid.as_raw(), io.ends(stdin, owner)?),
        Err(e) => return Err(report.wait().unwrap_or_else(|| runtime_failure(&e))),
    };
    report.wait().map_or(Ok(ends), Err)
}

/// The standard streams of a process, before it exists.
enum Io {
    Pipes(Option<Ends>, stdio::Given),
    Terminal(ConsoleSocket),
}

impl Io {
    fn new(terminal: bool, stdin: bool, owner: u32, folder: &Path) -> Result<Self, Failure> {
        let io = if terminal {
            ConsoleSocket::new(folder.join("console.sock")).map(Self::Terminal)
        } else {
            stdio::pipes(stdin, owner).map(|(ours, given)| Self::Pipes(Some(ours), given))
        };
        io.map_err(stream_failure)
    }

    fn ends(self, stdin: bool, owner: u32) -> Result<Ends, Failure> {
        match self {
            Self::Pipes(ours, _) => Ok(ours.unwrap_or_default()),
            Self::Terminal(socket) => socket.receive(stdin, owner).map_err(stream_failure),
        }
    }
}

fn builder(id: &str, io: &Io, report: &OwnedFd) -> Result<ContainerBuilder, Failure> {
    let mut builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_executor(Command::new(report))
        .with_root_path(STATE_DIR)
        .map_err(|e| runtime_failure(&e))?;
    match io {
        Io::Terminal(socket) => builder = builder.with_console_socket(Some(socket.path())),
        Io::Pipes(_, [stdin, stdout, stderr]) => {
            let copy = |fd: &OwnedFd| fd.try_clone().map_err(stream_failure);
            builder = builder.with_stdin(copy(stdin)?).with_stdout(copy(stdout)?).with_stderr(copy(stderr)?);
        }
    }
    Ok(builder)
}

/// Sets what depends on the image's users: numbers, groups and the home folder.
fn apply_user(process: &mut Process, text: &str, inside: &Inside) -> Result<(), Failure> {
    let given = process.user();
    let numbers = format!("{}:{}", given.uid(), given.gid());
    // Without a text, the numbers of the specification count; of both being 0 it is as if nothing was said.
    let text = if text.is_empty() && numbers != "0:0" { numbers.as_str() } else { text };
    let user = user::resolve(text, &inside.text("/etc/passwd"), &inside.text("/etc/group"))?;
    let mut groups = user.groups;
    for gid in given.additional_gids().iter().flatten() {
        if !groups.contains(gid) {
            groups.push(*gid);
        }
    }
    let mut applied = given.clone();
    applied.set_uid(user.uid).set_gid(user.gid).set_additional_gids(Some(groups));
    process.set_user(applied);
    if variable(process, "HOME").is_none_or(str::is_empty) {
        let mut environment = process.env().clone().unwrap_or_default();
        environment.retain(|assignment| !assignment.starts_with("HOME="));
        environment.push(format!("HOME={}", user.home));
        process.set_env(Some(environment));
    }
    Ok(())
}

/// Sets what depends on where this guest has put things.
fn adapt(spec: &mut Spec, id: &str, root: &Root) -> Result<Cgroup, Failure> {
    let read_only = spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
    let root = RootBuilder::default().path(root.path()).readonly(read_only).build();
    spec.set_root(Some(root.map_err(|e| other(e.to_string()))?));
    let linux = spec.linux_mut().as_mut().ok_or_else(|| other("the specification has no part for Linux".into()))?;
    let path = linux.cgroups_path().clone().unwrap_or_else(|| PathBuf::from(format!("/{id}")));
    let cgroup = Cgroup::new(&path);
    linux.set_cgroups_path(Some(path));
    Ok(cgroup)
}

fn write_files(folder: &Path, files: &[File]) -> Result<(), Failure> {
    for file in files {
        check_name("file name", &file.name)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(file.mode & 0o7777);
        options
            .open(folder.join(&file.name))
            .and_then(|mut to| io::Write::write_all(&mut to, file.content.as_bytes()))
            .map_err(|e| other(format!("the file {} could not be written: {e}", file.name)))?;
    }
    Ok(())
}

fn save(path: &Path, value: &impl serde::Serialize) -> Result<(), Failure> {
    let written = serde_json::to_vec(value).map_err(io::Error::from).and_then(|json| fs::write(path, json));
    written.map_err(|e| other(format!("{} could not be written: {e}", path.display())))
}

/// Ids and file names become one component of a path.
fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
    if name.is_empty() || name.len() > 255 || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(other(format!("{what} {name:?}: letters, digits and _.+- only, not beginning with a dot")));
    }
    Ok(())
}

/// Whether a failed creation has left something mounted, in which case its folder must stay.
fn has_mounts(folder: &Path) -> bool {
    let needle = format!(" {}/", folder.display());
    fs::read_to_string("/proc/self/mounts").map_or(true, |mounts| mounts.contains(&needle))
}

fn runtime_failure(error: &libcontainer::error::LibcontainerError) -> Failure {
    other(format!("the container could not be made: {}", chain(error)))
}

fn stream_failure(error: io::Error) -> Failure {
    other(format!("the standard streams could not be made: {error}"))
}

fn no_container(id: &str) -> Failure {
    Failure { kind: FailureKind::NoSuchContainer, message: format!("no container {id}") }
}

fn not_in_state(id: &str, state: &str) -> Failure {
    Failure { kind: FailureKind::NoSuchContainer, message: format!("the container {id} is not {state}") }
}

fn other(message: String) -> Failure {
    Failure { kind: FailureKind::Other, message }
}
