//! The files of a control group, version 2. They come from a guest, which may say anything.

use std::collections::HashMap;
use std::time::Duration;

/// What a control group uses.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage {
    pub cpu: Duration,
    pub memory: u64,
    pub memory_max: Option<u64>,
    pub block: (u64, u64),
    pub pids: u64,
}

pub fn usage(files: &HashMap<String, String>) -> Usage {
    let text = |name: &str| files.get(name).map_or("", String::as_str);
    let number = |name: &str| text(name).trim().parse().ok();
    let current: u64 = number("memory.current").unwrap_or(0);
    // As Docker counts: pages of files that nobody has touched for long are no use of memory.
    let inactive = named(text("memory.stat"), "inactive_file");
    Usage {
        cpu: Duration::from_micros(named(text("cpu.stat"), "usage_usec")),
        memory: current.saturating_sub(inactive),
        memory_max: number("memory.max"),
        block: block(text("io.stat")),
        pids: number("pids.current").unwrap_or(0),
    }
}

/// The number in the line that begins with a name.
fn named(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let found = lines.find(|(known, _)| *known == name);
    found.map_or(0, |(_, value)| value.trim().parse().unwrap_or(0))
}

/// Bytes read and written of all devices, in lines such as `254:0 rbytes=4096 wbytes=0`.
fn block(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let values = text.split_whitespace().filter_map(|word| {
            let value = word.strip_prefix(key)?.strip_prefix('=')?;
            value.parse::<u64>().ok()
        });
        values.fold(0, u64::saturating_add)
    };
    (sum("rbytes"), sum("wbytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_control_group_are_read() {
        let files = [
            ("cpu.stat", "usage_usec 1500\nuser_usec 1\n"),
            ("memory.current", "5000\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1\ninactive_file 1000\n"),
            (
                "io.stat",
                "254:0 rbytes=10 wbytes=1 rios=1\n254:16 rbytes=5 wbytes=2\n",
            ),
            ("pids.current", "3\n"),
        ];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let expected = Usage {
            cpu: Duration::from_micros(1500),
            memory: 4000,
            memory_max: None,
            block: (15, 3),
            pids: 3,
        };
        assert_eq!(usage(&files.into()), expected);
        let hostile = [
            ("cpu.stat", "usage_usec -1"),
            ("io.stat", "rbytes=99999999999999999999"),
        ];
        let hostile = hostile.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(usage(&hostile.into()).cpu, Duration::ZERO);
    }
}
