//! A container's control group (version 2).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const HIERARCHY: &str = "/sys/fs/cgroup";

/// A control group.
pub struct Cgroup {
    path: PathBuf,
    oom_kills: u64,
}

impl Cgroup {
    /// The group at `path` in the hierarchy.
    pub fn new(path: &Path) -> Self {
        let relative = path.strip_prefix("/").unwrap_or(path);
        Self { path: Path::new(HIERARCHY).join(relative), oom_kills: 0 }
    }

    /// Sends a signal to every process in it.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        if signal == libc::SIGKILL {
            return fs::write(self.path.join("cgroup.kill"), "1");
        }
        let processes = fs::read_to_string(self.path.join("cgroup.procs"))?;
        for process in processes.lines().filter_map(|line| line.parse().ok()) {
            // One that has ended since then needs no signal.
            // SAFETY: kill takes no pointers.
            unsafe { libc::kill(process, signal) };
        }
        Ok(())
    }

    /// Whether the kernel has killed one of its processes for want of memory since this was asked before.
    pub fn has_run_out_of_memory(&mut self) -> bool {
        let kills = value(&self.path.join("memory.events"))
            // Without the memory controller, those of the whole guest.
            .or_else(|| value(Path::new("/proc/vmstat")))
            .unwrap_or(0);
        let more = kills > self.oom_kills;
        self.oom_kills = kills;
        more
    }

    /// Removes it; it has to be empty.
    pub fn remove(&self) {
        match fs::remove_dir(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                crate::console::warn("a control group could not be removed", &e);
            }
            _ => {}
        }
    }
}

fn value(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|number| number.trim().parse().ok())
}
