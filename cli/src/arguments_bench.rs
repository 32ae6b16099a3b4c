//! The command line of benchmarks.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use rvm_bench::{Metric, Target};
use rvm_engine::options::isolation::Isolation;

use crate::arguments_create::GoDuration;

/// What the isolations are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Beside {
    /// A process of the host
    Bare,
    /// A microVM that boots
    Cold,
    /// A container by crun
    Crun,
    /// A container by runc
    Runc,
}

/// The target that an isolation is.
pub fn target(isolation: Isolation) -> Target {
    match isolation {
        Isolation::Vm => Target::Vm,
        Isolation::Container => Target::Container,
    }
}

impl From<Beside> for Target {
    fn from(beside: Beside) -> Self {
        match beside {
            Beside::Bare => Self::Bare,
            Beside::Cold => Self::Cold,
            Beside::Crun => Self::Crun,
            Beside::Runc => Self::Runc,
        }
    }
}

/// One built-in workload.
#[derive(Clone, Debug)]
pub struct Workload(pub &'static [Metric]);

impl std::str::FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Metric::of_workload(name).map(Self).ok_or_else(|| {
            let known: Vec<&str> = Metric::workloads().collect();
            format!("there are {}", known.join(", "))
        })
    }
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Bench {
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    #[command(flatten)]
    pub measure: Measure,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Compare two benchmarks; exit code 1 when something has become worse
    Compare(Compare),
}

#[derive(Debug, Args)]
pub struct Compare {
    /// What '--json' wrote first
    pub before: PathBuf,
    /// What '--json' wrote later
    pub after: PathBuf,
}

#[derive(Debug, Args)]
pub struct Measure {
    /// Image to run
    #[arg(long, value_name = "IMAGE", default_value = "busybox")]
    pub image: String,
    /// Isolations to measure
    #[arg(
        long,
        value_name = "ISOLATION",
        value_delimiter = ',',
        default_value = "vm,container"
    )]
    pub isolation: Vec<Isolation>,
    /// What to measure beside them
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    pub with: Vec<Beside>,
    /// No more rounds than these
    #[arg(long, value_name = "NUMBER", default_value = "30", value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// No round begins that would end later than this after the beginning
    #[arg(long, value_name = "DURATION", default_value = "8m")]
    pub time_limit: GoDuration,
    /// Built-in workloads to measure [default: all]: start, stop, memory, size, syscall, fork, fault, cpu, bandwidth, write, read, latency, throughput
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub workload: Vec<Workload>,
    /// Write the results into a file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report with charts into a file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Measure this command in place of the built-in workloads; the last option, because all further words are its own
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    pub command: Vec<String>,
}

impl Measure {
    /// The targets, each once.
    pub fn targets(&self) -> Vec<Target> {
        let isolations = self.isolation.iter().copied().map(target);
        let beside = self.with.iter().map(|beside| (*beside).into());
        let mut targets: Vec<Target> = Vec::new();
        for target in isolations.chain(beside) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    /// The figures, in the order of a report.
    pub fn metrics(&self) -> Vec<Metric> {
        let own = (!self.command.is_empty()).then_some(Metric::Command);
        let mut metrics: Vec<Metric> = match (own, self.workload.is_empty()) {
            (Some(own), true) => vec![own],
            (None, true) => Metric::built_in(),
            (_, false) => self
                .workload
                .iter()
                .flat_map(|workload| workload.0)
                .copied()
                .chain(own)
                .collect(),
        };
        metrics.sort();
        metrics.dedup();
        metrics
    }

    /// The time limit.
    pub fn limit(&self) -> Duration {
        self.time_limit.0
    }
}

#[derive(Debug, Args)]
pub struct IsolationReport {
    /// Image to look around in
    #[arg(long, value_name = "IMAGE", default_value = "busybox")]
    pub image: String,
    /// Isolations to look around in
    #[arg(
        long,
        value_name = "ISOLATION",
        value_delimiter = ',',
        default_value = "vm,container"
    )]
    pub isolation: Vec<Isolation>,
    /// Format of the output: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    pub format: String,
}
