//! Containers: from a request to a process that waits for its start, and back to nothing.

mod preparation;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rvm_agent_protocol::{
    Adopt, ArchiveAction, CONTAINERS_DIR, CreateOf, ExecOf, ExitStatus, Failure, FailureKind, File,
    Filter, NETWORK_PARAMETERS, Observed, PrepareOf,
};

use crate::archive;
use crate::cgroup::Cgroup;
use crate::child::Children;
use crate::guest;
use crate::inside::Inside;
use crate::machine::Machine;
use crate::oci_runtime::OciRuntime;
use crate::rootfs::{Root, remove_folder};
use crate::runtime::hold::Held;
use crate::runtime::pins::Pins;
use crate::runtime::{self, Waiting};
use crate::spec::{Process, Spec};
use crate::stdio::{self, Plan};
use crate::stream::Ends;
use crate::user::Accounts;
use preparation::{Preparation, apply_user, build, make_files, write_files};

type Prepare = PrepareOf<Spec>;
type Create = CreateOf<Process>;
type Exec = ExecOf<Process>;

/// The containers of this guest, or the one of this sandbox.
pub struct Containers {
    machine: Machine,
    list: BTreeMap<String, Container>,
    /// Which container a further process belongs to.
    execs: BTreeMap<i32, String>,
    /// Which container stands still until a process of the agent's own has ended.
    frozen: BTreeMap<i32, String>,
}

struct Container {
    pid: i32,
    stream: u32,
    phase: Phase,
    folder: PathBuf,
    spec: Spec,
    filter: Filter,
    /// Its own files, by the names that [`PrepareOf::files`] gave them.
    files: Vec<(String, fs::File)>,
    /// Further groups of its users.
    groups: Vec<String>,
    hostname: Option<String>,
    root: Root,
    cgroup: Cgroup,
    pins: Option<Pins>,
    runtime: Option<OciRuntime>,
    /// Its first process was killed, and must not be kept from ending.
    killed: bool,
}

enum Phase {
    Prepared(Box<Preparation>),
    /// An OCI runtime will make it; its users.
    Bundled(Box<Accounts>),
    /// It has, and is to start it.
    Made,
    Created(Waiting),
    Held(Held),
    Running,
    Stopped,
}

impl Containers {
    /// None yet.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            list: BTreeMap::new(),
            execs: BTreeMap::new(),
            frozen: BTreeMap::new(),
        }
    }

    /// Makes what a container is in, up to the point where its process waits to be told who it is.
    pub fn prepare(&mut self, request: Prepare) -> Result<(), Failure> {
        let name = request.name.clone();
        check_name("container's name", &name)?;
        if self.list.contains_key(&name) {
            return Err(other(format!("the container {name} exists already")));
        }
        let folder = Path::new(CONTAINERS_DIR).join(&name);
        fs::create_dir(&folder)
            .map_err(|e| other(format!("the container's folder could not be made: {e}")))?;
        let made = make_files(&folder, &request.files).and_then(|files| {
            let root = Root::mount(&folder, &request.rootfs)?;
            build(request, &folder, files, root, self.machine)
        });
        match made {
            Ok(container) => {
                self.list.insert(name, container);
                Ok(())
            }
            Err(failure) => {
                if !has_mounts(&folder) {
                    remove_folder(&folder);
                }
                Err(failure)
            }
        }
    }

    /// Makes a prepared container the one that is asked for, up to the point where its process waits to exec. After a failure it is gone.
    pub fn create(
        &mut self,
        request: Create,
        children: &mut Children,
    ) -> Result<(i32, Ends), Failure> {
        let (name, id) = (request.prepared.clone(), request.id.clone());
        check_name("container id", &id)?;
        if id != name && self.list.contains_key(&id) {
            return Err(other(format!("the container {id} exists already")));
        }
        let mut container = self.list.remove(&name).ok_or_else(|| no_container(&name))?;
        container.groups.clone_from(&request.options.groups);
        container.hostname.clone_from(&request.hostname);
        let preparation = match std::mem::replace(&mut container.phase, Phase::Running) {
            Phase::Prepared(preparation) => preparation,
            Phase::Bundled(accounts) => {
                let made = container.create_by_runtime(request, &accounts);
                if made.is_ok() {
                    self.list.insert(id, container);
                } else {
                    container.remove();
                }
                return made;
            }
            phase => {
                container.phase = phase;
                self.list.insert(name.clone(), container);
                return Err(not_in_state(&name, "prepared"));
            }
        };
        let created = container
            .name(request.hostname.as_deref(), request.domainname.as_deref())
            .and_then(|()| preparation.create(request, &container.files, &container.root.path()));
        match created {
            Ok((process, ends)) => {
                let pid = container.pid;
                container.phase = Phase::Created(process);
                self.list.insert(id, container);
                Ok((pid, ends))
            }
            Err(failure) => {
                container.end(children);
                container.remove();
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
        self.list
            .get(id)
            .map(|c| c.stream)
            .ok_or_else(|| no_container(id))
    }

    /// Lets a container's process become its command, and keeps it there.
    pub fn hold(&mut self, id: &str) -> Result<(), Failure> {
        let container = self.list.get_mut(id).ok_or_else(|| no_container(id))?;
        match std::mem::replace(&mut container.phase, Phase::Running) {
            Phase::Created(process) => {
                container.phase = Phase::Held(process.hold()?);
                // What has to be written would be written by every guest that goes on from here.
                self.machine.sync();
                Ok(())
            }
            phase => {
                container.phase = phase;
                Err(not_in_state(id, "waiting to be started"))
            }
        }
    }

    /// Makes a container whose process is held another one.
    pub fn adopt(&mut self, request: Adopt) -> Result<(), Failure> {
        check_name("container id", &request.id)?;
        if request.id != request.held && self.list.contains_key(&request.id) {
            return Err(other(format!(
                "the container {} exists already",
                request.id
            )));
        }
        let mut container = self
            .list
            .remove(&request.held)
            .ok_or_else(|| no_container(&request.held))?;
        let adopted = container.adopt(&request);
        let id = if adopted.is_ok() {
            request.id
        } else {
            request.held
        };
        self.list.insert(id, container);
        adopted
    }

    /// Lets a container's process become its command, or go on if it is held.
    pub fn start(&mut self, id: &str) -> Result<(), Failure> {
        let container = self.list.get_mut(id).ok_or_else(|| no_container(id))?;
        match std::mem::replace(&mut container.phase, Phase::Running) {
            Phase::Created(process) => process.start(),
            Phase::Held(process) => process.release(),
            Phase::Made => container.runtime.as_ref().map_or(Ok(()), OciRuntime::start),
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
        let (pid, ends) = add_process(request, container, self.machine)?;
        self.execs.insert(pid, id);
        Ok((pid, ends))
    }

    /// What the kernel tells of a container.
    pub fn observe(&self, id: &str, what: Observed) -> Result<Vec<(String, String)>, Failure> {
        let container = self.list.get(id).ok_or_else(|| no_container(id))?;
        Ok(container.cgroup.observe(what))
    }

    /// Packs, unpacks or looks at a container's files, in a process of its own.
    pub fn archive(&mut self, id: &str, action: ArchiveAction) -> Result<(i32, Ends), Failure> {
        let container = self.list.get(id).ok_or_else(|| no_container(id))?;
        let first = matches!(container.phase, Phase::Running).then_some(container.pid);
        let stdin = matches!(action, ArchiveAction::Unpack { .. });
        let (ends, given) = stdio::pipes(stdin, 0).map_err(stream_failure)?;
        let freezes = matches!(action, ArchiveAction::Layer { freeze: true, .. });
        if freezes && first.is_some() {
            container.freeze(true)?;
        }
        match archive::start(action, &container.root, first, &given) {
            Ok(pid) => {
                if freezes && first.is_some() {
                    self.frozen.insert(pid, id.to_owned());
                }
                Ok((pid, ends))
            }
            Err(failure) => container.freeze(false).and(Err(failure)),
        }
    }

    /// Sends a signal to a container's first process, or to all.
    pub fn signal(&mut self, id: &str, signal: i32, all: bool) -> Result<(), Failure> {
        let container = self.list.get_mut(id).ok_or_else(|| no_container(id))?;
        if matches!(container.phase, Phase::Stopped | Phase::Bundled(_)) {
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
        container.killed |= signal == libc::SIGKILL && result.is_ok();
        result.map_err(|e| {
            other(format!(
                "signal {signal} could not be sent to the container {id}: {e}"
            ))
        })
    }

    /// Changes a container's limits.
    pub fn limit(&self, id: &str, limits: BTreeMap<String, String>) -> Result<(), Failure> {
        let container = self.list.get(id).ok_or_else(|| no_container(id))?;
        Ok(container.cgroup.set_all(limits)?)
    }

    /// Stops a container's processes, or lets them go on.
    pub fn freeze(&self, id: &str, freeze: bool) -> Result<(), Failure> {
        let container = self.list.get(id).ok_or_else(|| no_container(id))?;
        match container.phase {
            Phase::Running if !freeze || !container.killed => container.freeze(freeze),
            _ if freeze => Err(not_in_state(id, "running")),
            _ => Ok(()),
        }
    }

    /// Gives the files of a container's own another content.
    pub fn write_files(&self, id: &str, files: &[File]) -> Result<(), Failure> {
        let container = self.list.get(id).ok_or_else(|| no_container(id))?;
        write_files(&container.files, files)
    }

    /// Kills a further process, if it still runs.
    pub fn kill(&self, id: &str, pid: i32) {
        if self.execs.get(&pid).is_some_and(|of| of == id) {
            // SAFETY: as in `signal`.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }

    /// Ends what is left of a container and forgets it.
    pub fn delete(&mut self, id: &str, children: &mut Children) -> Result<(), Failure> {
        let mut container = self.list.remove(id).ok_or_else(|| no_container(id))?;
        if !matches!(container.phase, Phase::Stopped) {
            container.end(children);
        }
        container.remove();
        Ok(())
    }

    /// Ends every container, and unmounts their disks.
    pub fn end_all(&mut self, children: &mut Children) {
        for container in self.list.values() {
            // What stands still can't end.
            let _ = container.cgroup.freeze(false);
        }
        // SAFETY: kill takes no pointers; for PID 1, all processes are all others.
        unsafe { libc::kill(-1, libc::SIGKILL) };
        children.wait_all();
        for container in self.list.values_mut() {
            container.pins = None;
            container.root.unmount();
            container.cgroup.remove();
        }
        self.machine.sync();
    }

    /// Notes that a child has ended; how, if memory had to do with it.
    pub fn ended(&mut self, pid: i32, status: ExitStatus) -> ExitStatus {
        if let Some(id) = self.frozen.remove(&pid)
            && let Some(container) = self.list.get(&id)
            && let Err(e) = container.cgroup.freeze(false)
        {
            crate::console::warn("a container stands still", &e);
        }
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
    /// Gives it its names.
    fn name(&self, host: Option<&str>, domain: Option<&str>) -> Result<(), Failure> {
        match &self.pins {
            Some(pins) => pins.set_names(host, domain),
            None => Ok(()),
        }
    }

    /// Has the runtime make it.
    fn create_by_runtime(
        &mut self,
        mut request: Create,
        accounts: &Accounts,
    ) -> Result<(i32, Ends), Failure> {
        let Some(runtime) = &self.runtime else {
            return Err(not_in_state(&request.prepared, "prepared"));
        };
        write_files(&self.files, &request.files)?;
        let process = &mut request.process;
        apply_user(process, &request.user, &request.options.groups, accounts)?;
        // The network is the sandbox's, with which runtimes leave them alone.
        for (name, value) in &self.spec.linux.sysctl {
            if name.starts_with(NETWORK_PARAMETERS) {
                guest::set_parameter(name, value)
                    .map_err(|e| other(format!("the kernel parameter {name}: {e}")))?;
            }
        }
        let (pid, ends) = runtime.create(&request)?;
        self.pid = pid;
        self.pins = Some(Pins::of(pid)?);
        // Runtimes differ in which of the names they know.
        self.name(request.hostname.as_deref(), request.domainname.as_deref())?;
        self.phase = Phase::Made;
        Ok((pid, ends))
    }

    fn adopt(&mut self, request: &Adopt) -> Result<(), Failure> {
        let Phase::Held(process) = &self.phase else {
            return Err(not_in_state(&request.held, "held"));
        };
        let (before, now) = (self.hostname.as_deref(), request.hostname.as_deref());
        process.adopt(&request.random, before, now)?;
        self.name(now, request.domainname.as_deref())?;
        write_files(&self.files, &request.files)?;
        self.hostname.clone_from(&request.hostname);
        Ok(())
    }

    fn freeze(&self, freeze: bool) -> Result<(), Failure> {
        self.cgroup.freeze(freeze).map_err(|e| {
            other(format!(
                "the container's processes could not be stopped: {e}"
            ))
        })
    }

    /// Ends its processes.
    fn end(&self, children: &mut Children) {
        // The end of the first process ends the others of its namespace; the group has those that share the guest's.
        if !matches!(self.phase, Phase::Bundled(_)) {
            // SAFETY: as in `signal`.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            let _ = self.cgroup.signal(libc::SIGKILL);
            children.wait_for(self.pid);
        }
    }

    fn remove(&mut self) {
        self.pins = None;
        self.cgroup.remove();
        if self.root.unmount() {
            remove_folder(&self.folder);
        }
    }
}

/// Starts a process in a container.
fn add_process(
    request: Exec,
    container: &Container,
    machine: Machine,
) -> Result<(i32, Ends), Failure> {
    let Exec {
        mut process,
        user,
        stdin,
        ..
    } = request;
    let root = PathBuf::from(format!("/proc/{}/root", container.pid));
    let inside = Inside::open(&root)
        .map_err(|e| other(format!("the container's root cannot be opened: {e}")))?;
    let groups = &container.groups;
    apply_user(&mut process, &user, groups, &Accounts::read(&inside))?;
    if let Some(runtime) = &container.runtime {
        return runtime.exec(&process, stdin);
    }
    let streams = Plan::new(&process, stdin).map_err(stream_failure)?;
    let cgroup = container.cgroup.entry();
    let pid = runtime::join(
        &process,
        &container.spec,
        &container.filter,
        container.pid,
        (machine, cgroup),
        &streams.given,
    )?;
    Ok((pid, streams.ends(stdin).map_err(stream_failure)?))
}

/// Ids and file names become one component of a path.
fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
    if name.is_empty() || name.len() > 255 || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(other(format!(
            "{what} {name:?}: letters, digits and _.+- only, not beginning with a dot"
        )));
    }
    Ok(())
}

/// Whether a failed creation has left something mounted, in which case its folder must stay.
fn has_mounts(folder: &Path) -> bool {
    let needle = format!(" {}/", folder.display());
    fs::read_to_string("/proc/self/mounts").map_or(true, |mounts| mounts.contains(&needle))
}

fn stream_failure(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidInput {
        // They were to be given to the container's user.
        return other(
            "the container's user is none that there is here: without root, a container has as many users as /etc/subuid and /etc/subgid give it"
                .to_owned(),
        );
    }
    other(format!("the standard streams could not be made: {error}"))
}

fn no_container(id: &str) -> Failure {
    Failure {
        kind: FailureKind::NoSuchContainer,
        message: format!("no container {id}"),
    }
}

fn not_in_state(id: &str, state: &str) -> Failure {
    Failure {
        kind: FailureKind::NoSuchContainer,
        message: format!("the container {id} is not {state}"),
    }
}

fn other(message: String) -> Failure {
    Failure {
        kind: FailureKind::Other,
        message,
    }
}
