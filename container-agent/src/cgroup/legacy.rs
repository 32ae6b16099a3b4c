//! A control group of version 1: a folder in the hierarchy of each controller. To the host it speaks as one of version 2.

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{Error, PATIENCE, hierarchies, make_all, set, unified};
use crate::observe::Files;
use crate::spec::{DeviceRule, Resources};

/// The kernel's number for no limit of memory is the largest multiple of a page.
const NO_LIMIT: u64 = 1 << 62;

/// A control group.
pub struct Legacy {
    folders: Vec<PathBuf>,
    entries: Vec<OwnedFd>,
    oom_kills: u64,
}

impl Legacy {
    /// Makes the group at `path` in every hierarchy, with the limits of `resources`.
    pub fn make(path: &Path, resources: &Resources) -> Result<Self, Error> {
        let failed = |e: io::Error| Error::Make(path.to_owned(), e);
        let mut group = Self {
            folders: Vec::new(),
            entries: Vec::new(),
            oom_kills: 0,
        };
        let made = hierarchies::folders()
            .and_then(|folders| {
                folders
                    .iter()
                    .try_for_each(|folder| group.add(folder, path))
            })
            .map_err(failed)
            .and_then(|()| group.set_all(unified::limits(resources)))
            .and_then(|()| group.allow(&resources.devices).map_err(Error::Devices));
        if let Err(e) = made {
            // The first error is the one to tell of.
            let _ = group.remove();
            return Err(e);
        }
        Ok(group)
    }

    fn add(&mut self, hierarchy: &Path, path: &Path) -> io::Result<()> {
        let folder = hierarchy.join(path);
        make_all(&folder, || {
            let mut folder = hierarchy.to_owned();
            for name in path {
                let above = folder.clone();
                folder.push(name);
                match fs::create_dir(&folder) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                    _ => inherit_cpuset(&above, &folder)?,
                }
            }
            Ok(())
        })?;
        self.folders.push(folder.clone());
        let entry = fs::OpenOptions::new()
            .write(true)
            .open(folder.join("cgroup.procs"))?;
        self.entries.push(entry.into());
        Ok(())
    }

    /// Its folders.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Files to which a process writes itself.
    pub fn entries(&self) -> &[OwnedFd] {
        &self.entries
    }

    /// Its processes: where there are no hierarchies, all but the agent, whose process namespace is the container's alone.
    pub fn processes(&self) -> io::Result<Vec<i32>> {
        if let Some(list) = self.find("cgroup.procs") {
            return super::processes(&list);
        }
        let entries = fs::read_dir("/proc")?.flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let agent = std::process::id() as i32;
        Ok(ids.filter(|id| *id != agent).collect())
    }

    /// Sets limits that are given as files of version 2.
    pub fn set_all(&self, limits: impl IntoIterator<Item = (String, String)>) -> Result<(), Error> {
        for (file, value) in translated(limits) {
            let Some(path) = self.find(file) else {
                // Kernels may count no swap.
                if file == "memory.memsw.limit_in_bytes" {
                    continue;
                }
                let missing = io::ErrorKind::NotFound.into();
                return Err(Error::Limit(file.to_owned(), value, missing));
            };
            let result = match set(&path, &value) {
                // Memory with swap is never less than memory: the larger one goes first, and this one is set again behind it.
                Err(e)
                    if e.raw_os_error() == Some(libc::EINVAL)
                        && file == "memory.limit_in_bytes" =>
                {
                    let swap = path.with_file_name("memory.memsw.limit_in_bytes");
                    set(&swap, "-1").and_then(|()| set(&path, &value))
                }
                result => result,
            };
            result.map_err(|e| Error::Limit(file.to_owned(), value, e))?;
        }
        Ok(())
    }

    /// Binds its processes to the rules on devices, of which the last that matches decides.
    fn allow(&self, rules: &[DeviceRule]) -> io::Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        for rule in rules {
            let name = if rule.allow {
                "devices.allow"
            } else {
                "devices.deny"
            };
            let path = self.find(name).ok_or(io::ErrorKind::NotFound)?;
            set(&path, &line(rule))?;
        }
        Ok(())
    }

    /// Stops its processes, or lets them go on; waits until they stand still.
    pub fn freeze(&self, freeze: bool) -> io::Result<()> {
        let path = self.find("freezer.state").ok_or(io::ErrorKind::NotFound)?;
        if !freeze {
            return set(&path, "THAWED");
        }
        let begin = std::time::Instant::now();
        loop {
            // Once may not be enough where processes fork meanwhile.
            set(&path, "FROZEN")?;
            if fs::read_to_string(&path)?.trim() == "FROZEN" {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                set(&path, "THAWED")?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Whether the kernel has killed one of its processes for want of memory since this was asked before.
    pub fn has_run_out_of_memory(&mut self) -> bool {
        let kills = self
            .find("memory.oom_control")
            .and_then(|path| fs::read_to_string(path).ok())
            .and_then(|text| {
                let mut lines = text.lines();
                lines.find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
            })
            .unwrap_or(0);
        let more = kills > self.oom_kills;
        self.oom_kills = kills;
        more
    }

    /// What it uses, in the files of version 2.
    pub fn usage(&self, files: &mut Files) {
        if let Some(nanoseconds) = self.number("cpuacct.usage") {
            files.add("cpu.stat", format!("usage_usec {}\n", nanoseconds / 1000));
        }
        for (name, of) in [
            ("memory.current", "memory.usage_in_bytes"),
            ("memory.stat", "memory.stat"),
            ("pids.current", "pids.current"),
        ] {
            if let Some(path) = self.find(of) {
                files.add_from(name, &path);
            }
        }
        if let Some(most) = self
            .number("memory.limit_in_bytes")
            .filter(|most| *most < NO_LIMIT)
        {
            files.add("memory.max", format!("{most}\n"));
        }
        let block = self.find("blkio.throttle.io_service_bytes_recursive");
        if let Some(text) = block.and_then(|path| fs::read_to_string(path).ok()) {
            files.add("io.stat", traffic(&text));
        }
    }

    /// Removes it; it has to be empty.
    pub fn remove(&self) -> io::Result<()> {
        for folder in &self.folders {
            match fs::remove_dir(folder) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    fn number(&self, file: &str) -> Option<u64> {
        let text = fs::read_to_string(self.find(file)?).ok()?;
        text.trim().parse().ok()
    }

    /// A file of the group, in whichever hierarchy it is.
    fn find(&self, file: &str) -> Option<PathBuf> {
        let mut paths = self.folders.iter().map(|folder| folder.join(file));
        paths.find(|path| path.exists())
    }
}

/// A new group of this controller has neither processors nor memory, and takes no processes before it has.
fn inherit_cpuset(above: &Path, folder: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        match fs::read_to_string(folder.join(file)) {
            Ok(text) if text.trim().is_empty() => {
                set(
                    &folder.join(file),
                    fs::read_to_string(above.join(file))?.trim(),
                )?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A rule as the files of the controller have it.
fn line(rule: &DeviceRule) -> String {
    let number = |number: Option<i64>| match number {
        Some(number) if number >= 0 => number.to_string(),
        _ => "*".to_owned(),
    };
    match rule.kind.as_deref() {
        None | Some("a") => "a".to_owned(),
        Some(kind) => format!(
            "{kind} {}:{} {}",
            number(rule.major),
            number(rule.minor),
            rule.access.as_deref().unwrap_or("rwm")
        ),
    }
}

/// Bytes read and written by device, as `io.stat` has them.
fn traffic(text: &str) -> String {
    let mut found = String::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let key = match (words.next(), words.next()) {
            (Some(device), Some("Read")) => (device, "rbytes"),
            (Some(device), Some("Write")) => (device, "wbytes"),
            _ => continue,
        };
        let (device, name) = key;
        let bytes = words.next().unwrap_or("0");
        // Writing to a string cannot fail.
        let _ = writeln!(found, "{device} {name}={bytes}");
    }
    found
}

/// Files of version 1, in the order in which they can be set.
fn translated(limits: impl IntoIterator<Item = (String, String)>) -> Vec<(&'static str, String)> {
    let limits: Vec<_> = limits.into_iter().collect();
    let given = |name: &str| {
        let mut found = limits.iter().filter(|(file, _)| file == name);
        found.next_back().map(|(_, value)| value.as_str())
    };
    let amount = |value: &str| {
        if value == "max" {
            "-1".to_owned()
        } else {
            value.to_owned()
        }
    };
    let mut list = Vec::new();
    for (name, value) in &limits {
        let file = match name.as_str() {
            "memory.max" => "memory.limit_in_bytes",
            "memory.low" => "memory.soft_limit_in_bytes",
            "cpu.shares" => "cpu.shares",
            "cpuset.cpus" => "cpuset.cpus",
            "cpuset.mems" => "cpuset.mems",
            "pids.max" => {
                list.push(("pids.max", value.clone()));
                continue;
            }
            "cpu.weight" => {
                let weight: u64 = value.parse().unwrap_or(100);
                let shares = 2 + weight.clamp(1, 10_000).saturating_sub(1) * 262_142 / 9999;
                list.push(("cpu.shares", shares.to_string()));
                continue;
            }
            "cpu.max" => {
                let (quota, period) = value.split_once(' ').unwrap_or((value, "100000"));
                list.push(("cpu.cfs_period_us", period.to_owned()));
                list.push(("cpu.cfs_quota_us", amount(quota)));
                continue;
            }
            _ => continue,
        };
        list.push((file, amount(value)));
    }
    // Version 1 counts memory in.
    if let Some(swap) = given("memory.swap.max") {
        let sum = match (
            swap.parse::<u64>(),
            given("memory.max").map(str::parse::<u64>),
        ) {
            (Ok(swap), Some(Ok(memory))) => swap.saturating_add(memory).to_string(),
            _ => "-1".to_owned(),
        };
        list.push(("memory.memsw.limit_in_bytes", sum));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_those_of_version_1() {
        let limits = [
            ("memory.max", "1000"),
            ("memory.swap.max", "500"),
            ("memory.low", "max"),
            ("cpu.max", "max 100000"),
            ("cpu.weight", "39"),
            ("pids.max", "max"),
        ];
        let limits = limits.map(|(file, value)| (file.to_owned(), value.to_owned()));
        let text: Vec<String> = translated(limits)
            .iter()
            .map(|(file, value)| format!("{file}={value}"))
            .collect();
        let expected = [
            "memory.limit_in_bytes=1000",
            "memory.soft_limit_in_bytes=-1",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=-1",
            "cpu.shares=998",
            "pids.max=max",
            "memory.memsw.limit_in_bytes=1500",
        ];
        assert_eq!(text, expected);
    }

    #[test]
    fn rules_and_traffic_are_those_of_the_kernel() {
        let rule = |json| line(&serde_json::from_value(json).expect("a rule"));
        assert_eq!(
            rule(serde_json::json!({"allow": false, "access": "rwm"})),
            "a"
        );
        assert_eq!(
            rule(serde_json::json!({"allow": true, "type": "c", "major": 136, "access": "rwm"})),
            "c 136:* rwm"
        );
        assert_eq!(
            traffic("8:0 Read 5\n8:0 Write 7\n8:0 Sync 1\nTotal 12\n"),
            "8:0 rbytes=5\n8:0 wbytes=7\n"
        );
    }
}
