//! The figures of a benchmark: what each is called, in what it is counted, and what a reader should know of it.

use rvm_workload::Work;
use serde::{Deserialize, Serialize};

use crate::units::Unit;

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The user's own command.
    Command,
    /// `run --rm` of a command that ends at once.
    Start,
    /// `stop`.
    Stop,
    /// The memory of an instance that is alone.
    Memory,
    /// The memory of one more.
    FurtherMemory,
    /// How many fit.
    Density,
    /// What lies on the disk.
    Size,
    /// A system call.
    Syscall,
    /// A process.
    Fork,
    /// A page.
    Fault,
    /// Arithmetic.
    Cpu,
    /// Copying in memory.
    Bandwidth,
    /// Writing a file.
    Write,
    /// Reading a file.
    Read,
    /// There and back.
    Latency,
    /// One way.
    Throughput,
}

/// What belongs together in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Beginning and end.
    Life,
    /// Memory and disk.
    Space,
    /// What enters the kernel.
    Kernel,
    /// What does not.
    Compute,
    /// The writable layer.
    Files,
    /// The bridge.
    Network,
}

/// Which way is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// As with times.
    Lower,
    /// As with rates.
    Higher,
}

impl Metric {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 16] = [
        Self::Command,
        Self::Start,
        Self::Stop,
        Self::Memory,
        Self::FurtherMemory,
        Self::Density,
        Self::Size,
        Self::Syscall,
        Self::Fork,
        Self::Fault,
        Self::Cpu,
        Self::Bandwidth,
        Self::Write,
        Self::Read,
        Self::Latency,
        Self::Throughput,
    ];

    /// What it is called in a table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Command => "your command",
            Self::Start => "start and end",
            Self::Stop => "stop",
            Self::Memory => "memory, alone",
            Self::FurtherMemory => "memory, one more",
            Self::Density => "density (estimate)",
            Self::Size => "image on disk",
            Self::Syscall => "system call",
            Self::Fork => "fork and exec",
            Self::Fault => "page fault",
            Self::Cpu => "arithmetic",
            Self::Bandwidth => "memory copy",
            Self::Write => "file write",
            Self::Read => "file read, cached",
            Self::Latency => "network round trip",
            Self::Throughput => "network throughput",
        }
    }

    /// What exactly is measured.
    pub fn about(self) -> &'static str {
        match self {
            Self::Command => "rvm run --rm of your command, from before it to after its end",
            Self::Start => "rvm run --rm of true, from before it to after its end",
            Self::Stop => "rvm stop of the image's own command",
            Self::Memory => {
                "proportional set size (PSS) of all processes of an instance, and of a container the kernel memory of its control group"
            }
            Self::FurtherMemory => "what a second instance of the same image adds to that",
            Self::Density => {
                "free memory of this host divided by the memory of one more instance; an estimate, not tried"
            }
            Self::Size => "the image's layers; for a microVM with the template that it starts from",
            Self::Syscall => "getppid, in a loop",
            Self::Fork => "fork, exec and wait of a small static program",
            Self::Fault => "first touch of a 4 KiB page, with its share of mapping and unmapping",
            Self::Cpu => "dependent 64-bit multiplications, without a system call",
            Self::Bandwidth => "16 MiB copied by a plain loop, over and over",
            Self::Write => {
                "64 KiB at a time into a file of the writable layer, until it is on the disk"
            }
            Self::Read => "64 KiB at a time from that file, which is in the page cache",
            Self::Latency => "64 bytes over TCP from the host to the published port and back",
            Self::Throughput => {
                "TCP from the host to the published port, at most 256 KiB under way"
            }
        }
    }

    /// What a sentence says of it, such as "Starting".
    pub fn doing(self) -> &'static str {
        match self {
            Self::Command => "your command",
            Self::Start => "starting",
            Self::Stop => "stopping",
            Self::Memory | Self::FurtherMemory | Self::Density => "memory of one more instance",
            Self::Size => "disk space",
            Self::Syscall => "a system call",
            Self::Fork => "a new process",
            Self::Fault => "a page fault",
            Self::Cpu => "computing",
            Self::Bandwidth => "copying in memory",
            Self::Write => "writing a file",
            Self::Read => "reading a file",
            Self::Latency => "a network round trip",
            Self::Throughput => "sending over the network",
        }
    }

    /// Where it stands in a report.
    pub fn group(self) -> Group {
        match self {
            Self::Command | Self::Start | Self::Stop => Group::Life,
            Self::Memory | Self::FurtherMemory | Self::Density | Self::Size => Group::Space,
            Self::Syscall | Self::Fork | Self::Fault => Group::Kernel,
            Self::Cpu | Self::Bandwidth => Group::Compute,
            Self::Write | Self::Read => Group::Files,
            Self::Latency | Self::Throughput => Group::Network,
        }
    }

    /// What its numbers are.
    pub fn unit(self) -> Unit {
        match self {
            Self::Command
            | Self::Start
            | Self::Stop
            | Self::Syscall
            | Self::Fork
            | Self::Fault
            | Self::Latency => Unit::Seconds,
            Self::Memory | Self::FurtherMemory | Self::Size => Unit::Bytes,
            Self::Bandwidth | Self::Write | Self::Read | Self::Throughput => Unit::BytesPerSecond,
            Self::Cpu => Unit::PerSecond,
            Self::Density => Unit::Count,
        }
    }

    /// Which way is the better one.
    pub fn better(self) -> Better {
        match self.unit() {
            Unit::Seconds | Unit::Bytes => Better::Lower,
            Unit::BytesPerSecond | Unit::PerSecond | Unit::Count => Better::Higher,
        }
    }

    /// The work inside that it is measured by.
    pub fn work(self) -> Option<Work> {
        match self {
            Self::Syscall => Some(Work::Syscall),
            Self::Fork => Some(Work::Fork),
            Self::Fault => Some(Work::Fault),
            Self::Cpu => Some(Work::Cpu),
            Self::Bandwidth => Some(Work::Bandwidth),
            Self::Write => Some(Work::Write),
            Self::Read => Some(Work::Read),
            _ => None,
        }
    }

    /// The metric of a figure that work inside has given, and that figure in the metric's unit.
    pub fn of_work(work: Work, figure: f64) -> (Self, f64) {
        let nanoseconds = figure / 1e9;
        match work {
            Work::Syscall => (Self::Syscall, nanoseconds),
            Work::Fork => (Self::Fork, nanoseconds),
            Work::Fault => (Self::Fault, nanoseconds),
            Work::Cpu => (Self::Cpu, figure),
            Work::Bandwidth => (Self::Bandwidth, figure),
            Work::Write => (Self::Write, figure),
            Work::Read => (Self::Read, figure),
        }
    }

    /// Whether it needs a published port.
    pub fn is_network(self) -> bool {
        self.group() == Group::Network
    }

    /// Whether it needs an instance that runs the image's own command.
    pub fn is_instance(self) -> bool {
        matches!(
            self,
            Self::Stop | Self::Memory | Self::FurtherMemory | Self::Density
        )
    }
}

impl Group {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 6] = [
        Self::Life,
        Self::Space,
        Self::Kernel,
        Self::Compute,
        Self::Files,
        Self::Network,
    ];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Life => "Starting and stopping",
            Self::Space => "Memory and disk",
            Self::Kernel => "Entering the kernel",
            Self::Compute => "Computing",
            Self::Files => "Files",
            Self::Network => "Network",
        }
    }
}
