//! A container's control group, in whichever version of control groups the machine has.

pub mod hierarchies;
mod legacy;
mod unified;

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rvm_agent_protocol::{Failure, FailureKind, Observed};

use crate::observe::{self, Files};
use crate::spec::Resources;
use legacy::Legacy;
use unified::Unified;

/// Where the hierarchy of version 2 is mounted, or one folder for each hierarchy of version 1, named by its controllers.
pub const HIERARCHY: &str = "/sys/fs/cgroup";

/// How long the kernel is given to let go of a group whose processes have ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a control group could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The group itself.
    #[error("control group: {0} could not be made")]
    Make(PathBuf, #[source] io::Error),
    /// One of its limits.
    #[error("control group: {0} could not be set to {1}")]
    Limit(String, String, #[source] io::Error),
    /// Its rules on devices.
    #[error("control group: the rules on devices could not be set")]
    Devices(#[source] io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            kind: FailureKind::Other,
            message: crate::console::chain(&error),
        }
    }
}

/// A control group.
pub enum Cgroup {
    /// Of version 2.
    Unified(Unified),
    /// Of version 1: a folder in each hierarchy.
    Legacy(Legacy),
}

/// How a process comes into a group.
#[derive(Clone, Copy)]
pub enum Entry<'a> {
    /// It is born in the group of this folder.
    Folder(BorrowedFd<'a>),
    /// It writes itself to these files.
    Files(&'a [OwnedFd]),
}

impl Cgroup {
    /// Makes the group at `path` in the hierarchy, with the limits of `resources`.
    pub fn make(path: &Path, resources: &Resources) -> Result<Self, Error> {
        let path = path.strip_prefix("/").unwrap_or(path);
        if is_unified() {
            Unified::make(path, resources).map(Self::Unified)
        } else {
            Legacy::make(path, resources).map(Self::Legacy)
        }
    }

    /// The way into it.
    pub fn entry(&self) -> Entry<'_> {
        match self {
            Self::Unified(group) => Entry::Folder(group.folder()),
            Self::Legacy(group) => Entry::Files(group.entries()),
        }
    }

    /// Sets limits, given as files of version 2 and what is to stand in them.
    pub fn set_all(&self, limits: impl IntoIterator<Item = (String, String)>) -> Result<(), Error> {
        match self {
            Self::Unified(group) => group.set_all(limits),
            Self::Legacy(group) => group.set_all(limits),
        }
    }

    /// Sends a signal to every process in it.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        match self {
            Self::Unified(group) => group.signal(signal),
            Self::Legacy(group) => {
                signal_all(&group.processes()?, signal);
                Ok(())
            }
        }
    }

    /// Stops every process in it, or lets them go on.
    pub fn freeze(&self, freeze: bool) -> io::Result<()> {
        match self {
            Self::Unified(group) => group.freeze(freeze),
            Self::Legacy(group) => group.freeze(freeze),
        }
    }

    /// Whether the kernel has killed one of its processes for want of memory since this was asked before.
    pub fn has_run_out_of_memory(&mut self) -> bool {
        match self {
            Self::Unified(group) => group.has_run_out_of_memory(),
            Self::Legacy(group) => group.has_run_out_of_memory(),
        }
    }

    /// What the kernel tells of it.
    pub fn observe(&self, what: Observed) -> Vec<(String, String)> {
        let mut files = Files::default();
        match (what, self) {
            (Observed::Usage, Self::Unified(group)) => observe::usage(&mut files, group.path()),
            (Observed::Usage, Self::Legacy(group)) => group.usage(&mut files),
            (Observed::Processes, Self::Unified(group)) => {
                let list = processes(&group.path().join("cgroup.procs"));
                observe::processes(&mut files, &list.unwrap_or_default());
            }
            (Observed::Processes, Self::Legacy(group)) => {
                observe::processes(&mut files, &group.processes().unwrap_or_default());
            }
        }
        files.list()
    }

    /// Removes it; its processes have to be on their way out.
    pub fn remove(&self) {
        let removed = remove_patiently(|| match self {
            Self::Unified(group) => group.remove(),
            Self::Legacy(group) => group.remove(),
        });
        if let Err(e) = removed {
            crate::console::warn("a control group could not be removed", &e);
        }
        match self {
            Self::Unified(group) => remove_above(group.path()),
            Self::Legacy(group) => group.folders().iter().for_each(|path| remove_above(path)),
        }
    }
}

/// Ends whatever is left in a group that somebody has left behind, and removes it.
pub fn clean_up(path: &Path) -> io::Result<()> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let hierarchies = match is_unified() {
        true => vec![PathBuf::from(HIERARCHY)],
        false => hierarchies::folders()?,
    };
    let folders: Vec<_> = hierarchies.iter().map(|folder| folder.join(path)).collect();
    for folder in &folders {
        // What stands still can't end.
        for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            let _ = set(&folder.join(file), value);
        }
    }
    for folder in &folders {
        remove_patiently(|| {
            // There may be none left, nor any group.
            let list = processes(&folder.join("cgroup.procs"));
            signal_all(&list.unwrap_or_default(), libc::SIGKILL);
            fs::remove_dir(folder)
        })?;
        remove_above(folder);
    }
    Ok(())
}

/// Whether the machine has the one hierarchy of version 2.
pub fn is_unified() -> bool {
    Path::new(HIERARCHY).join("cgroup.procs").exists()
}

/// The kernel counts an ended process among a group's for a moment longer.
fn remove_patiently(mut remove: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let begin = std::time::Instant::now();
    loop {
        match remove() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && begin.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// Removes the group above one that is gone, unless others are in it.
fn remove_above(folder: &Path) {
    if let Some(above) = folder.parent() {
        let _ = fs::remove_dir(above);
    }
}

/// Makes a group and those above it, of which somebody else may remove an empty one meanwhile.
fn make_all(folder: &Path, make: impl Fn() -> io::Result<()>) -> io::Result<()> {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        match make() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
    }
    fs::create_dir(folder)
}

/// The processes that a file lists. 0 is one that is in no namespace of ours, and to kill the own group.
fn processes(list: &Path) -> io::Result<Vec<i32>> {
    let list = fs::read_to_string(list)?;
    let ids = list.lines().filter_map(|line| line.parse().ok());
    Ok(ids.filter(|id| *id > 0).collect())
}

fn signal_all(processes: &[i32], signal: i32) {
    for process in processes {
        // One that has ended since then needs no signal.
        // SAFETY: kill takes no pointers.
        unsafe { libc::kill(*process, signal) };
    }
}

/// Writes to a file of the hierarchy without trying to make it, which the kernel would forbid instead of saying that it is missing.
fn set(file: &Path, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(file)?;
    io::Write::write_all(&mut file, value.as_bytes())
}
