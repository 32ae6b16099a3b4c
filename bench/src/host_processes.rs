//! What an instance takes of the host's memory: all of its processes, found from its monitor downwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Two looks this close to each other say that an instance has come to rest.
const REST: f64 = 0.01;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// The processor time that an instance at rest may take between two looks, in hundredths of a second.
const IDLE: u64 = 1;

/// No instance is waited for longer.
const LOOKS: usize = 150;

/// Bytes that the instances of some containers take together, once they have come to rest: a service has then begun to serve.
/// Containers are named by their full ids.
pub fn at_rest(ids: &[&str]) -> f64 {
    let mut last = look(ids);
    for _ in 0..LOOKS {
        std::thread::sleep(LOOK);
        let now = look(ids);
        let still = (now.memory - last.memory).abs() <= now.memory * REST;
        if still && now.ticks <= last.ticks + IDLE {
            return now.memory;
        }
        last = now;
    }
    last.memory
}

struct Look {
    /// Bytes.
    memory: f64,
    /// The processor time so far.
    ticks: u64,
}

fn look(ids: &[&str]) -> Look {
    let processes = processes();
    let monitors = processes
        .iter()
        .filter(|(pid, _)| ids.iter().any(|id| is_monitor(**pid, id)));
    let mut found: Vec<u32> = monitors.map(|(pid, _)| *pid).collect();
    let outside = found.first().and_then(|pid| control_group(*pid));
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = processes.iter().filter(|(_, stat)| stat.parent == parent);
        found.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    let mut groups: Vec<PathBuf> = found.iter().filter_map(|pid| control_group(*pid)).collect();
    groups.sort();
    groups.dedup();
    // The monitor's own group is that of whoever started it.
    groups.retain(|group| Some(group) != outside.as_ref());
    let pages: f64 = found.iter().map(|pid| proportional(*pid)).sum();
    let kernel: f64 = groups.iter().map(|group| kernel_memory(group)).sum();
    let ticks = found.iter().filter_map(|pid| processes.get(pid));
    Look {
        memory: pages + kernel,
        ticks: ticks.map(|stat| stat.ticks).sum(),
    }
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    ticks: u64,
}

/// All processes.
fn processes() -> BTreeMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let text = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, stat(&text)?))
        })
        .collect()
}

/// The fields behind the name, which may have spaces and parentheses in it: state, parent, and further on the processor time in user and system mode.
fn stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let time = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        ticks: time(11)?.saturating_add(time(12)?),
    })
}

/// Whether a process is a container's `rvm-monitor`, which has the id among its arguments.
fn is_monitor(pid: u32, id: &str) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut arguments = arguments.split(|byte| *byte == 0);
    let program = arguments.next().unwrap_or_default();
    program.ends_with(b"rvm-monitor") && arguments.any(|argument| argument == id.as_bytes())
}

/// The proportional set size in bytes: shared pages count by their share.
fn proportional(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0
}

/// The folder of the group in which a process's kernel memory is counted: of the memory controller of version 1, or of version 2.
fn control_group(pid: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let lines = || {
        text.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            Some((parts.next()?, parts.next()?.trim_start_matches('/')))
        })
    };
    let memory =
        lines().find(|(controllers, _)| controllers.split(',').any(|name| name == "memory"));
    if let Some((_, path)) = memory {
        return Some(Path::new("/sys/fs/cgroup/memory").join(path));
    }
    let (_, path) = lines().find(|(controllers, _)| controllers.is_empty())?;
    Some(Path::new("/sys/fs/cgroup").join(path))
}

fn kernel_memory(group: &Path) -> f64 {
    let first = fs::read_to_string(group.join("memory.kmem.usage_in_bytes"));
    if let Some(bytes) = first.ok().and_then(|text| text.trim().parse().ok()) {
        return bytes;
    }
    let text = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("kernel "));
    line.and_then(|bytes| bytes.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_behind_any_name() {
        let text = "12 (a (b) c) S 34 12 12 0 -1 4194560 1 2 3 4 50 6 0 0 20";
        let expected = Stat {
            parent: 34,
            ticks: 56,
        };
        assert_eq!(stat(text), Some(expected));
        assert_eq!(stat("12"), None);
    }

    #[test]
    fn this_process_has_memory_and_a_group() {
        let pid = std::process::id();
        assert!(proportional(pid) > 1e5);
        assert!(!is_monitor(pid, "0123"));
    }
}
