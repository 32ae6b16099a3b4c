//! A control group of version 2: one folder in the one hierarchy.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{Error, HIERARCHY, make_all, set};
use crate::device_rules;
use crate::spec::Resources;

/// A control group.
pub struct Unified {
    path: PathBuf,
    folder: OwnedFd,
    oom_kills: u64,
}

impl Unified {
    /// Makes the group at `path` in the hierarchy, with the limits of `resources`.
    pub fn make(path: &Path, resources: &Resources) -> Result<Self, Error> {
        let path = Path::new(HIERARCHY).join(path.strip_prefix("/").unwrap_or(path));
        let unmade = |e: io::Error| Error::Make(path.clone(), e);
        make_all(&path, || {
            enable_controllers(&path)?;
            fs::create_dir(&path)
        })
        .map_err(unmade)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, &path, flags, Mode::empty()).map_err(|e| unmade(e.into()))?;
        let oom_kills = oom_kills(&path);
        let group = Self {
            path,
            folder,
            oom_kills,
        };
        let devices = device_rules::attach(group.folder(), &resources.devices);
        if let Err(e) = group.limit(resources).and(devices.map_err(Error::Devices)) {
            // The first error is the one to tell of.
            let _ = group.remove();
            return Err(e);
        }
        Ok(group)
    }

    /// Where it is in the hierarchy's file system.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its folder, for a fork into it.
    pub fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    fn limit(&self, resources: &Resources) -> Result<(), Error> {
        self.set_all(limits(resources))
    }

    /// Writes limits to its files.
    pub fn set_all(&self, limits: impl IntoIterator<Item = (String, String)>) -> Result<(), Error> {
        let own = |file: &str| !file.contains('/');
        for (file, value) in limits.into_iter().filter(|(file, _)| own(file)) {
            let (file, value) = translated(file, value);
            match set(&self.path.join(&file), &value) {
                // A kernel without swap has no such file, and nothing to limit.
                Err(e) if e.kind() == io::ErrorKind::NotFound && file == "memory.swap.max" => {}
                result => result.map_err(|e| Error::Limit(file, value, e))?,
            }
        }
        Ok(())
    }

    /// Sends a signal to every process in it.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        if signal == libc::SIGKILL {
            return set(&self.path.join("cgroup.kill"), "1");
        }
        let processes = fs::read_to_string(self.path.join("cgroup.procs"))?;
        for process in processes.lines().filter_map(|line| line.parse().ok()) {
            // One that has ended since then needs no signal.
            // SAFETY: kill takes no pointers.
            unsafe { libc::kill(process, signal) };
        }
        Ok(())
    }

    /// Stops every process in it, or lets them go on.
    pub fn freeze(&self, freeze: bool) -> io::Result<()> {
        set(
            &self.path.join("cgroup.freeze"),
            if freeze { "1" } else { "0" },
        )
    }

    /// Whether the kernel has killed one of its processes for want of memory since this was asked before.
    pub fn has_run_out_of_memory(&mut self) -> bool {
        let kills = oom_kills(&self.path);
        let more = kills > self.oom_kills;
        self.oom_kills = kills;
        more
    }

    /// Removes it; it has to be empty.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir(&self.path)
    }
}

/// How many processes the kernel has killed for want of memory.
fn oom_kills(group: &Path) -> u64 {
    value(&group.join("memory.events"))
        // Without the memory controller, those of the whole machine.
        .or_else(|| value(Path::new("/proc/vmstat")))
        .unwrap_or(0)
}

fn value(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|number| number.trim().parse().ok())
}

/// Lets the groups above `path` pass on every controller there is.
fn enable_controllers(path: &Path) -> io::Result<()> {
    let available = fs::read_to_string(Path::new(HIERARCHY).join("cgroup.controllers"))?;
    let wanted: Vec<String> = ["cpu", "cpuset", "io", "memory", "pids"]
        .into_iter()
        .filter(|name| {
            available
                .split_whitespace()
                .any(|controller| controller == *name)
        })
        .map(|name| format!("+{name}"))
        .collect();
    let mut above: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|folder| folder.starts_with(HIERARCHY))
        .collect();
    above.reverse();
    for folder in above {
        fs::create_dir_all(folder)?;
        let control = folder.join("cgroup.subtree_control");
        if !wanted.is_empty() && set(&control, &wanted.join(" ")).is_err() {
            // One that is not to be had must not keep the others away; a limit that needs it says what is missing.
            for controller in &wanted {
                let _ = set(&control, controller);
            }
        }
    }
    Ok(())
}

/// Shares of a processor, which only version 1 counts so: 2 to 262144 become a weight of 1 to 10000.
fn translated(file: String, value: String) -> (String, String) {
    match value.parse::<u64>() {
        Ok(shares) if file == "cpu.shares" => {
            let weight = 1 + shares.clamp(2, 262_144).saturating_sub(2) * 9999 / 262_142;
            ("cpu.weight".to_owned(), weight.to_string())
        }
        _ => (file, value),
    }
}

/// The files of version 2, and `cpu.shares`, and their values for the limits of a specification.
pub fn limits(resources: &Resources) -> Vec<(String, String)> {
    let mut list = Vec::new();
    let mut add = |file: &str, value: String| list.push((file.to_owned(), value));
    let amount = |value: i64| {
        if value < 0 {
            "max".to_owned()
        } else {
            value.to_string()
        }
    };
    if let Some(memory) = &resources.memory {
        if let Some(limit) = memory.limit {
            add("memory.max", amount(limit));
        }
        // The specification counts memory in; version 2 does not.
        match (memory.swap, memory.limit) {
            (Some(swap), Some(limit)) if swap >= 0 && limit >= 0 => {
                add("memory.swap.max", (swap - limit).max(0).to_string())
            }
            (Some(-1), _) => add("memory.swap.max", "max".into()),
            _ => {}
        }
        if let Some(reservation) = memory.reservation {
            add("memory.low", amount(reservation));
        }
    }
    if let Some(cpu) = &resources.cpu {
        if cpu.quota.is_some() || cpu.period.is_some() {
            let quota = cpu
                .quota
                .filter(|quota| *quota > 0)
                .map_or("max".to_owned(), |quota| quota.to_string());
            add(
                "cpu.max",
                format!("{quota} {}", cpu.period.unwrap_or(100_000)),
            );
        }
        if let Some(shares) = cpu.shares.filter(|shares| *shares > 0) {
            add("cpu.shares", shares.to_string());
        }
        if let Some(cpus) = cpu.cpus.as_ref().filter(|text| !text.is_empty()) {
            add("cpuset.cpus", cpus.clone());
        }
        if let Some(nodes) = cpu.mems.as_ref().filter(|text| !text.is_empty()) {
            add("cpuset.mems", nodes.clone());
        }
    }
    if let Some(limit) = resources
        .pids
        .as_ref()
        .and_then(|pids| pids.limit)
        .filter(|limit| *limit != 0)
    {
        add("pids.max", amount(limit));
    }
    for (file, value) in resources
        .unified
        .iter()
        .filter(|(file, _)| !file.contains('/'))
    {
        add(file, value.clone());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_translated_to_version_2() {
        let resources = serde_json::json!({
            "memory": {"limit": 1000, "swap": 1500}, "cpu": {"quota": 150_000, "period": 100_000, "shares": 1024},
            "pids": {"limit": -1}, "unified": {"memory.high": "900", "../x": "1"},
        });
        let mut list = limits(&serde_json::from_value(resources).expect("resources"));
        list.sort();
        let text: Vec<String> = list
            .iter()
            .map(|(file, value)| translated(file.clone(), value.clone()))
            .map(|(file, value)| format!("{file}={value}"))
            .collect();
        let expected = [
            "cpu.max=150000 100000",
            "cpu.weight=39",
            "memory.high=900",
            "memory.max=1000",
            "memory.swap.max=500",
            "pids.max=max",
        ];
        assert_eq!(text, expected);
    }
}
