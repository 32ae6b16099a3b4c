//! What a container may take of its guest: limits that can be changed while it runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cpus::Cpus;
use super::memory::Memory;

/// The length of the period in which a CPU quota holds, in microseconds.
const CPU_PERIOD: i64 = 100_000;

/// Limits within what the guest has. Nothing is limited of which nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Fewer processors than the guest has.
    pub cpus: Option<Cpus>,
    /// The share of the processors where others want them, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// Less memory than the guest has.
    pub memory: Option<Memory>,
    /// Memory that is not taken from it lightly.
    pub memory_reservation: Option<Memory>,
    /// Processes and threads; 0 and less for any number.
    pub pids: Option<i64>,
}

impl Limits {
    /// The files of the container's control group (version 2, and `cpu.shares`, which the agent translates), and what stands in them.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let mut set = |name: &str, value: String| files.insert(name.to_owned(), value);
        if let Some(cpus) = self.cpus {
            let quota = cpus.nano() / 10_000;
            set("cpu.max", format!("{quota} {CPU_PERIOD}"));
        }
        if let Some(shares) = self.cpu_shares.filter(|shares| *shares > 0) {
            set("cpu.shares", shares.to_string());
        }
        if let Some(memory) = self.memory {
            set("memory.max", memory.bytes().to_string());
            // As much again, as Docker has it.
            set("memory.swap.max", memory.bytes().to_string());
        }
        if let Some(reservation) = self.memory_reservation {
            set("memory.low", reservation.bytes().to_string());
        }
        match self.pids {
            Some(pids) if pids > 0 => drop(set("pids.max", pids.to_string())),
            Some(_) => drop(set("pids.max", "max".to_owned())),
            None => {}
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_version_2() {
        let limits = Limits {
            cpus: Some("0.5".parse().expect("cpus")),
            cpu_shares: Some(1024),
            memory: Some(Memory::mib(64)),
            memory_reservation: None,
            pids: Some(-1),
        };
        let files: Vec<String> = limits
            .files()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let expected = [
            "cpu.max=50000 100000",
            "cpu.shares=1024",
            "memory.max=67108864",
            "memory.swap.max=67108864",
            "pids.max=max",
        ];
        assert_eq!(files, expected);
        assert!(Limits::default().files().is_empty());
    }
}
