//! Containers: from a request to a process that waits for its start, and back to nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rvm_agent_protocol::{
    CONTAINERS_DIR, CreateOf, ExecOf, ExitStatus, Failure, FailureKind, File,
};

use crate::cgroup::Cgroup;
use crate::child::Children;
use crate::inside::Inside;
use crate::rootfs::{Root, remove_folder};
use crate::runtime::{self, Waiting};
use crate::spec::{Process, Spec};
use crate::stdio::Plan;
use crate::stream::Ends;
use crate::user;

type Create = CreateOf<Spec>;
type Exec = ExecOf<Process>;

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
    spec: Spec,
    root: Root,
    cgroup: Cgroup,
}

enum Phase {
    Created(Waiting),
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
        fs::create_dir(&folder)
            .map_err(|e| other(format!("the container's folder could not be made: {e}")))?;
        let made = write_files(&folder, &request.files)
            .and_then(|()| Ok(Root::mount(&folder, &request.rootfs)?))
            .and_then(|root| self.build(request, root));
        if made.is_err() && !has_mounts(&folder) {
            remove_folder(&folder);
        }
        made
    }

    fn build(&mut self, request: Create, mut root: Root) -> Result<(i32, Ends), Failure> {
        match make(request, &root) {
            Ok(Made {
                id,
                spec,
                process,
                ends,
                cgroup,
            }) => {
                let pid = process.pid();
                let phase = Phase::Created(process);
                self.list.insert(
                    id,
                    Container {
                        pid,
                        stream: 0,
                        phase,
                        spec,
                        root,
                        cgroup,
                    },
                );
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
        self.list
            .get(id)
            .map(|c| c.stream)
            .ok_or_else(|| no_container(id))
    }

    /// Lets a container's process become its command.
    pub fn start(&mut self, id: &str) -> Result<(), Failure> {
        let container = self.list.get_mut(id).ok_or_else(|| no_container(id))?;
        match std::mem::replace(&mut container.phase, Phase::Running) {
            Phase::Created(process) => process.start(),
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
        let (pid, ends) = add_process(request, container)?;
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
        result.map_err(|e| {
            other(format!(
                "signal {signal} could not be sent to the container {id}: {e}"
            ))
        })
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
        if self.root.unmount() {
            remove_folder(&Path::new(CONTAINERS_DIR).join(id));
        }
    }
}

struct Made {
    id: String,
    spec: Spec,
    process: Waiting,
    ends: Ends,
    cgroup: Cgroup,
}

/// Turns a request into a specification of this guest's and makes the container's first process.
fn make(request: Create, root: &Root) -> Result<Made, Failure> {
    let Create {
        id,
        mut spec,
        user,
        stdin,
        ..
    } = request;
    let inside = Inside::open(&root.path())
        .map_err(|e| other(format!("the root file system cannot be opened: {e}")))?;
    apply_user(&mut spec.process, &user, &inside)?;
    let folder = &spec.process.cwd;
    inside.make_folder(folder).map_err(|e| {
        other(format!(
            "the working directory {} could not be made: {e}",
            folder.display()
        ))
    })?;
    let streams = Plan::new(&spec.process, stdin).map_err(stream_failure)?;
    let path = spec
        .linux
        .cgroups_path
        .clone()
        .unwrap_or_else(|| PathBuf::from(&id));
    let cgroup = Cgroup::make(&path, &spec.linux.resources)?;
    let made = runtime::create(&spec, &root.path(), cgroup.folder(), &streams.given)
        .and_then(|process| Ok((process, streams.ends(stdin).map_err(stream_failure)?)));
    match made {
        Ok((process, ends)) => Ok(Made {
            id,
            spec,
            process,
            ends,
            cgroup,
        }),
        Err(failure) => {
            let _ = cgroup.signal(libc::SIGKILL);
            cgroup.remove();
            Err(failure)
        }
    }
}

/// Starts a process in a container.
fn add_process(request: Exec, container: &Container) -> Result<(i32, Ends), Failure> {
    let Exec {
        mut process,
        user,
        stdin,
        ..
    } = request;
    let root = PathBuf::from(format!("/proc/{}/root", container.pid));
    let inside = Inside::open(&root)
        .map_err(|e| other(format!("the container's root cannot be opened: {e}")))?;
    apply_user(&mut process, &user, &inside)?;
    let streams = Plan::new(&process, stdin).map_err(stream_failure)?;
    let cgroup = container.cgroup.folder();
    let waiting = runtime::join(
        &process,
        &container.spec,
        container.pid,
        cgroup,
        &streams.given,
    )?;
    let pid = waiting.pid();
    let ends = streams.ends(stdin).map_err(stream_failure)?;
    waiting.start()?;
    Ok((pid, ends))
}

/// Sets what depends on the image's users: numbers, groups and the home folder.
fn apply_user(process: &mut Process, text: &str, inside: &Inside) -> Result<(), Failure> {
    let given = &mut process.user;
    let numbers = format!("{}:{}", given.uid, given.gid);
    // Without a text, the numbers of the specification count; of both being 0 it is as if nothing was said.
    let text = if text.is_empty() && numbers != "0:0" {
        numbers.as_str()
    } else {
        text
    };
    let user = user::resolve(
        text,
        &inside.text("/etc/passwd"),
        &inside.text("/etc/group"),
    )?;
    let mut groups = user.groups;
    groups.extend(
        given
            .additional_gids
            .iter()
            .filter(|gid| !groups.contains(gid))
            .collect::<Vec<_>>(),
    );
    given.uid = user.uid;
    given.gid = user.gid;
    given.additional_gids = groups;
    if process.variable("HOME").is_none_or(str::is_empty) {
        process
            .env
            .retain(|assignment| !assignment.starts_with("HOME="));
        process.env.push(format!("HOME={}", user.home));
    }
    Ok(())
}

fn write_files(folder: &Path, files: &[File]) -> Result<(), Failure> {
    for file in files {
        check_name("file name", &file.name)?;
        let mut options = fs::OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(file.mode & 0o7777);
        options
            .open(folder.join(&file.name))
            .and_then(|mut to| io::Write::write_all(&mut to, file.content.as_bytes()))
            .map_err(|e| other(format!("the file {} could not be written: {e}", file.name)))?;
    }
    Ok(())
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
