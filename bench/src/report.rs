//! What a benchmark found, as it is kept in JSON.

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::metric::{Better, Metric};
use crate::statistics::{Interval, outliers};
use crate::target::Target;
use crate::units::whole;

/// The version of the JSON.
pub const FORMAT: u32 = 1;

/// A benchmark's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this form.
    pub format: u32,
    /// The version of `rvm`.
    pub rvm: String,
    /// The image.
    pub image: String,
    /// The user's own command.
    pub command: Vec<String>,
    /// When it began, in RFC 3339.
    pub begun: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Where it ran.
    pub machine: Machine,
    /// What was measured.
    pub targets: Vec<Target>,
    /// How often, without the round that warmed up.
    pub rounds: usize,
    /// How the intervals are made.
    pub method: String,
    /// The figures.
    pub figures: Vec<Figure>,
    /// What a reader has to know.
    pub notes: Vec<String>,
}

/// A figure of each target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is.
    pub metric: Metric,
    /// In seconds, bytes, bytes per second or a number.
    pub series: Vec<Series>,
    /// The first target's over the second's, round by round.
    pub ratio: Option<Interval>,
}

/// What was measured of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The target.
    pub target: Target,
    /// The median and its interval.
    #[serde(flatten)]
    pub interval: Interval,
    /// All that was measured, a number for each round.
    pub samples: Vec<f64>,
    /// The indices of the samples far from the others.
    pub outliers: Vec<usize>,
}

impl Figure {
    /// The figure of some samples; none where nothing was measured.
    pub fn new(metric: Metric, samples: Vec<(Target, Vec<f64>)>) -> Option<Self> {
        let series: Vec<Series> = samples
            .into_iter()
            .filter_map(|(target, samples)| {
                Some(Series {
                    target,
                    interval: Interval::of(&samples)?,
                    outliers: outliers(&samples),
                    samples,
                })
            })
            .collect();
        let of = |wanted| series.iter().find(|series| series.target == wanted);
        let ratio = match (of(Target::Vm), of(Target::Container)) {
            (Some(vm), Some(container)) => {
                let pairs = vm.samples.iter().zip(&container.samples);
                let ratios: Vec<f64> = pairs
                    .map(|(vm, container)| vm / container)
                    .filter(|ratio| ratio.is_finite())
                    .collect();
                Interval::of(&ratios)
            }
            _ => None,
        };
        (!series.is_empty()).then_some(Self {
            metric,
            series,
            ratio,
        })
    }

    /// How many times as much a microVM costs as a container: more than 1 where it is worse.
    pub fn cost(&self) -> Option<Interval> {
        let ratio = self.ratio?;
        Some(match self.metric.better() {
            Better::Lower => ratio,
            Better::Higher => Interval {
                median: 1.0 / ratio.median,
                low: 1.0 / ratio.high,
                high: 1.0 / ratio.low,
            },
        })
    }
}

impl Report {
    /// A figure.
    pub fn figure(&self, metric: Metric) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.metric == metric)
    }

    /// In a sentence, what the difference costs; nothing without both isolations.
    pub fn headline(&self) -> Option<String> {
        let told = [Metric::Command, Metric::Start, Metric::Syscall, Metric::Cpu];
        let parts: Vec<String> = told
            .iter()
            .filter_map(|metric| {
                let cost = self.figure(*metric)?.cost()?;
                Some(format!("{} costs {}", metric.doing(), times(cost)))
            })
            .collect();
        let text = parts.join("; ");
        let first = text.chars().next()?;
        Some(format!(
            "In a microVM {}{}.",
            first,
            &text[first.len_utf8()..]
        ))
    }
}

/// A factor in words.
pub fn times(cost: Interval) -> String {
    let near = cost.low <= 1.0 && cost.high >= 1.0 && (0.8..1.25).contains(&cost.median);
    match cost.median {
        _ if near => "the same".to_owned(),
        more if more >= 9.5 => format!("{} times as much", whole(more)),
        more if more > 1.0 => format!("{more:.1} times as much"),
        less => format!("{:.0} % as much", less * 100.0),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A report with both isolations and some figures.
    pub fn example(start: f64) -> Report {
        let around = |middle: f64| {
            (0..12)
                .map(|i| middle * (1.0 + f64::from(i) / 1000.0))
                .collect()
        };
        let figure = |metric, vm: f64, container: f64| {
            let samples = vec![
                (Target::Vm, around(vm)),
                (Target::Container, around(container)),
            ];
            Figure::new(metric, samples).expect("samples")
        };
        Report {
            format: FORMAT,
            rvm: "0.1.0".to_owned(),
            image: "nginx & <friends>".to_owned(),
            command: Vec::new(),
            begun: "2026-01-01T00:00:00Z".to_owned(),
            seconds: 400.0,
            machine: Machine::example(),
            targets: vec![Target::Vm, Target::Container],
            rounds: 12,
            method: crate::statistics::METHOD.to_owned(),
            figures: vec![
                figure(Metric::Start, start, 0.05),
                figure(Metric::Syscall, 2e-4, 3e-7),
                figure(Metric::Cpu, 4e8, 4e8),
                figure(Metric::Throughput, 1e6, 1e9),
            ],
            notes: vec!["A note with <angle brackets>".to_owned()],
        }
    }

    #[test]
    fn json_gives_back_what_it_was_given() {
        let report = example(0.6);
        let text = serde_json::to_string(&report).expect("JSON");
        let again: Report = serde_json::from_str(&text).expect("a report");
        assert_eq!(again, report);
    }

    #[test]
    fn the_headline_says_what_differs_and_what_does_not() {
        assert_eq!(
            example(0.6).headline().expect("both isolations"),
            "In a microVM starting costs 12 times as much; a system call costs 667 times as much; computing costs the same."
        );
    }

    #[test]
    fn a_lower_rate_costs_more() {
        let report = example(0.6);
        let figure = report.figure(Metric::Throughput).expect("measured");
        assert!((figure.cost().expect("both").median - 1000.0).abs() < 1e-6);
        assert!((figure.ratio.expect("both").median - 0.001).abs() < 1e-9);
    }
}
