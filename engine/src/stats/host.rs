//! What a microVM takes on the host.

use std::fs;

use super::HostMemory;

/// Bytes that a container has received and sent, which its tap has sent and received.
pub fn traffic(tap: &str) -> (u64, u64) {
    let counter = |name: &str| {
        let path = format!("/sys/class/net/{tap}/statistics/{name}");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    (counter("tx_bytes"), counter("rx_bytes"))
}

/// A process's parent.
pub fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// The memory of a monitor, and of its VMM or its sandbox's agent.
pub fn memory(monitor: Option<i32>, enclosure: Option<u32>) -> HostMemory {
    let mut memory = HostMemory::default();
    let monitor = monitor.and_then(|pid| u32::try_from(pid).ok());
    for pid in [monitor, enclosure].into_iter().flatten() {
        let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
        let found = of_maps(&maps);
        memory.guest += found.guest;
        memory.overhead += found.overhead;
    }
    memory
}

/// Sums up `/proc/PID/smaps`. The guest's memory is a memory file, or a template's, with the kernel's file mapped over parts of it:
/// everything from its first mapping to its last one.
fn of_maps(text: &str) -> HostMemory {
    let mut maps: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        if let Some(mapping) = Mapping::begin(line) {
            maps.push(mapping);
        } else if let (Some(value), Some(mapping)) = (line.strip_prefix("Pss:"), maps.last_mut()) {
            let kilobytes: u64 = value.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            mapping.share = kilobytes << 10;
        }
    }
    let files = || maps.iter().filter(|mapping| mapping.is_memory);
    let begin = files().map(|mapping| mapping.begin).min();
    let end = files().map(|mapping| mapping.begin).max();
    let mut memory = HostMemory::default();
    for mapping in &maps {
        let at = Some(mapping.begin);
        match at >= begin && at <= end && begin.is_some() {
            true => memory.guest += mapping.share,
            false => memory.overhead += mapping.share,
        }
    }
    memory
}

struct Mapping {
    begin: u64,
    share: u64,
    is_memory: bool,
}

impl Mapping {
    /// Reads the first line of one, such as `7f1e-7f2e rw-s 00000000 00:01 1738 /memfd:guest-memory (deleted)`.
    fn begin(line: &str) -> Option<Self> {
        let (addresses, _) = line.split_once(' ')?;
        let (begin, _) = addresses.split_once('-')?;
        let name = line.trim_end_matches(" (deleted)");
        Some(Self {
            begin: u64::from_str_radix(begin, 16).ok()?,
            share: 0,
            is_memory: name.ends_with("/memfd:guest-memory") || name.ends_with("/memory"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_memory_is_told_from_the_rest() {
        let maps = "\
7f1e-7f2e rw-s 00000000 00:01 1738    /memfd:guest-memory (deleted)
Size:              16384 kB
Pss:                 100 kB
Pss_Dirty:             9 kB
7f2e-7f2f rw-p 00000000 08:01 11      /usr/lib/rvm/vmlinux
Pss:                  20 kB
7f2f-7f30 rw-s 00000000 00:01 1738    /memfd:guest-memory (deleted)
Pss:                   1 kB
5581-5582 r-xp 00000000 08:01 12      /usr/lib/rvm/rvm-vmm
Pss:                   7 kB
7f3e-7f4e rw-p 00000000 00:00 0
Pss:                   3 kB
VmFlags: rd wr
";
        let expected = HostMemory {
            guest: 121 << 10,
            overhead: 10 << 10,
        };
        assert_eq!(of_maps(maps), expected);
    }
}
