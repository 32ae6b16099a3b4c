//! Two benchmarks of the same, one after the other: what has become worse.

use std::fmt::Write;

use crate::metric::{Better, Metric};
use crate::report::{Report, Series};
use crate::statistics::Interval;
use crate::target::Target;
use crate::units::digits;

/// What has become of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One report's median lies within the other's interval.
    Same,
    /// It is worse, and neither median lies within the other's interval.
    Worse,
    /// It is better, and neither median lies within the other's interval.
    Better,
}

/// A figure in both reports.
#[derive(Clone, Debug)]
pub struct Difference {
    /// What it is.
    pub metric: Metric,
    /// Of what.
    pub target: Target,
    /// The first report's.
    pub before: Series,
    /// The second report's.
    pub after: Series,
    /// What has become of it.
    pub change: Change,
}

/// Everything that two reports have in common.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The figures.
    pub differences: Vec<Difference>,
    /// Why they may not be comparable.
    pub warnings: Vec<String>,
}

/// Compares two reports.
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let mut differences = Vec::new();
    for figure in &before.figures {
        let Some(other) = after.figure(figure.metric) else {
            continue;
        };
        for series in &figure.series {
            let same = |other: &&Series| other.target == series.target;
            if let Some(other) = other.series.iter().find(same) {
                differences.push(Difference {
                    metric: figure.metric,
                    target: series.target,
                    before: series.clone(),
                    after: other.clone(),
                    change: change(figure.metric, series.interval, other.interval),
                });
            }
        }
    }
    Comparison {
        differences,
        warnings: warnings(before, after),
    }
}

fn change(metric: Metric, before: Interval, after: Interval) -> Change {
    if before.holds(after.median) || after.holds(before.median) {
        return Change::Same;
    }
    let more = after.median > before.median;
    match more == (metric.better() == Better::Higher) {
        true => Change::Better,
        false => Change::Worse,
    }
}

fn warnings(before: &Report, after: &Report) -> Vec<String> {
    let (one, two) = (&before.machine, &after.machine);
    let differing = [
        ("image", &before.image, &after.image),
        ("processor", &one.processor, &two.processor),
        ("kernel", &one.kernel, &two.kernel),
        ("KVM", &one.kvm, &two.kvm),
    ];
    let mut warnings: Vec<String> = differing
        .iter()
        .filter(|(_, one, two)| one != two)
        .map(|(what, one, two)| format!("another {what}: '{one}' and then '{two}'"))
        .collect();
    if before.command != after.command {
        warnings.push("another command".to_owned());
    }
    if one.processors != two.processors {
        warnings.push("another number of processors".to_owned());
    }
    warnings
}

impl Comparison {
    /// Whether anything has become worse.
    pub fn is_worse(&self) -> bool {
        self.count(Change::Worse) > 0
    }

    fn count(&self, change: Change) -> usize {
        let differences = self.differences.iter();
        differences
            .filter(|difference| difference.change == change)
            .count()
    }

    /// As a table, the changes first, and a sentence.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            let _ = writeln!(text, "WARNING: {warning}");
        }
        let _ = writeln!(
            text,
            "{:20} {:10} {:>12} {:>12} {:>8}  CHANGE",
            "FIGURE", "TARGET", "BEFORE", "AFTER", "RATIO"
        );
        for difference in &self.differences {
            let (before, after) = (difference.before.interval, difference.after.interval);
            let unit = difference.metric.unit();
            let change = match difference.change {
                Change::Worse => "worse",
                Change::Better => "better",
                Change::Same if before.holds(after.median) => "within the interval",
                Change::Same => "within the second's interval",
            };
            let _ = writeln!(
                text,
                "{:20} {:10} {:>12} {:>12} {:>8}  {change}",
                difference.metric.title(),
                difference.target.name(),
                unit.show(before.median),
                unit.show(after.median),
                digits(after.median / before.median),
            );
        }
        let _ = writeln!(
            text,
            "\n{} figures: {} worse, {} better, {} the same.",
            self.differences.len(),
            self.count(Change::Worse),
            self.count(Change::Better),
            self.count(Change::Same),
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    #[test]
    fn a_report_is_the_same_as_itself() {
        let comparison = compare(&example(0.6), &example(0.6));
        assert!(!comparison.is_worse() && comparison.warnings.is_empty());
        assert_eq!(comparison.count(Change::Same), 8);
    }

    #[test]
    fn a_longer_time_is_worse_and_a_shorter_one_is_better() {
        assert!(compare(&example(0.6), &example(0.9)).is_worse());
        let comparison = compare(&example(0.9), &example(0.6));
        assert!(!comparison.is_worse());
        assert_eq!(comparison.count(Change::Better), 1);
        // Within what two runs differ by in any case.
        assert!(!compare(&example(0.6), &example(0.62)).is_worse());
    }

    #[test]
    fn a_lower_rate_is_worse() {
        let mut after = example(0.6);
        for series in &mut after.figures[3].series {
            series.interval.low /= 2.0;
            series.interval.median /= 2.0;
            series.interval.high /= 2.0;
        }
        let comparison = compare(&example(0.6), &after);
        assert_eq!(comparison.count(Change::Worse), 2);
        assert!(
            comparison.text().contains("network throughput   vm"),
            "{}",
            comparison.text()
        );
    }

    #[test]
    fn another_machine_is_told() {
        let mut after = example(0.6);
        after.machine.processor = "another".to_owned();
        assert_eq!(compare(&example(0.6), &after).warnings.len(), 1);
    }
}
