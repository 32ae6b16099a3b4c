//! The names by which a user chooses what is measured.

use crate::metric::Metric;

/// What `--workload` takes, and the figures that it stands for.
const NAMES: [(&str, &[Metric]); 13] = [
    ("start", &[Metric::Start]),
    ("stop", &[Metric::Stop]),
    (
        "memory",
        &[Metric::Memory, Metric::FurtherMemory, Metric::Density],
    ),
    ("size", &[Metric::Size]),
    ("syscall", &[Metric::Syscall]),
    ("fork", &[Metric::Fork]),
    ("fault", &[Metric::Fault]),
    ("cpu", &[Metric::Cpu]),
    ("bandwidth", &[Metric::Bandwidth]),
    ("write", &[Metric::Write]),
    ("read", &[Metric::Read]),
    ("latency", &[Metric::Latency]),
    ("throughput", &[Metric::Throughput]),
];

impl Metric {
    /// The names of all workloads.
    pub fn workloads() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// The figures of a workload.
    pub fn of_workload(name: &str) -> Option<&'static [Self]> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, metrics)| *metrics)
    }

    /// The figures of all workloads that are built in.
    pub fn built_in() -> Vec<Self> {
        NAMES
            .iter()
            .flat_map(|(_, metrics)| *metrics)
            .copied()
            .collect()
    }
}
