//! The machine that figures come from, without which they say little.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::driver::{Driver, Error};

/// A machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its processor, as the kernel names it.
    pub processor: String,
    /// How many of them.
    pub processors: u64,
    /// Its memory.
    pub memory_bytes: u64,
    /// Its kernel's release.
    pub kernel: String,
    /// Its distribution.
    pub operating_system: String,
    /// Its KVM, in words.
    pub kvm: String,
    /// Whether KVM emulates what a guest does in ring 0, instruction by instruction.
    pub ring0_emulated: bool,
    /// The load average of a minute when the benchmark began.
    pub load_before: f64,
    /// And when it ended.
    pub load_after: f64,
}

/// What emulation means for every figure.
pub const EMULATED: &str = "This host has no hardware virtualisation for its guests: KVM runs a guest's programs natively, and emulates its kernel instruction by instruction. \
Everything that enters the guest's kernel (system calls, page faults, processes, files, the network, starting) is 100 to 1,000 times dearer here than on a host with VMX or SVM; what only computes is not. \
Read the figures of the microVM as those of a worst case.";

/// What `rvm info` tells of the host.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    kernel_version: String,
    operating_system: String,
    #[serde(rename = "NCPU")]
    processors: u64,
    mem_total: u64,
    kvm: String,
    host_kind: Option<String>,
}

impl Machine {
    /// This machine.
    pub fn look(driver: &Driver) -> Result<Self, Error> {
        let info: Info = driver.json(&["info", "--format", "json"])?;
        Ok(Self {
            processor: processor(),
            processors: info.processors,
            memory_bytes: info.mem_total,
            kernel: info.kernel_version,
            operating_system: info.operating_system,
            kvm: info.kvm,
            ring0_emulated: info.host_kind.as_deref() == Some("emulated_ring0"),
            load_before: load(),
            load_after: load(),
        })
    }

    /// In a line.
    pub fn line(&self) -> String {
        format!(
            "{}, {} processors, {}, Linux {}, {}; KVM: {}; load {:.2} before and {:.2} after",
            self.processor,
            self.processors,
            crate::units::Unit::Bytes.show(self.memory_bytes as f64),
            self.kernel,
            self.operating_system,
            self.kvm,
            self.load_before,
            self.load_after
        )
    }

    /// Some machine.
    #[cfg(test)]
    pub fn example() -> Self {
        Self {
            processor: "A processor".to_owned(),
            processors: 2,
            memory_bytes: 16 << 30,
            kernel: "6.12.1".to_owned(),
            operating_system: "Debian".to_owned(),
            kvm: "emulated".to_owned(),
            ring0_emulated: true,
            load_before: 0.1,
            load_after: 0.9,
        }
    }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    model.unwrap_or_else(|| "unknown processor".to_owned())
}

/// The load average of the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next();
    first.and_then(|load| load.parse().ok()).unwrap_or_default()
}

/// Bytes that could be given to programs without swapping.
pub fn available_memory() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0
}
