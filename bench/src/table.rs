//! A report as a table for a terminal.

use std::fmt::Write;

use crate::machine::EMULATED;
use crate::report::Report;
use crate::target::Target;
use crate::units::digits;

/// Columns between which text is broken.
const WIDTH: usize = 100;

/// A report as text: what has to be said first, and a line for each target of each figure.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    line(format!(
        "{}, {} rounds, {:.0} s",
        report.image, report.rounds, report.seconds
    ));
    line(wrapped(&report.machine.line()));
    if report.machine.ring0_emulated && report.targets.contains(&Target::Vm) {
        line(wrapped(&format!("RING 0 IS EMULATED. {EMULATED}")));
    }
    line(String::new());
    line(format!(
        "{:19} {:10} {:>12}   {:25} {:>9}  VM/CONTAINER",
        "FIGURE", "TARGET", "MEDIAN", "INTERVAL", "OUTLIERS"
    ));
    for figure in &report.figures {
        let unit = figure.metric.unit();
        for (index, series) in figure.series.iter().enumerate() {
            let interval = series.interval;
            let ratio = figure
                .ratio
                .filter(|_| index == 0)
                .map_or_else(String::new, |ratio| {
                    format!(
                        "{} ({} – {})",
                        digits(ratio.median),
                        digits(ratio.low),
                        digits(ratio.high)
                    )
                });
            let row = format!(
                "{:19} {:10} {:>12}   {:25} {:>9}  {ratio}",
                if index == 0 {
                    figure.metric.title()
                } else {
                    ""
                },
                series.target.name(),
                unit.show(interval.median),
                unit.range(interval.low, interval.high, interval.median),
                series.outliers.len(),
            );
            line(row.trim_end().to_owned());
        }
    }
    line(String::new());
    if let Some(headline) = report.headline() {
        line(wrapped(&headline));
    }
    for note in &report.notes {
        line(wrapped(&format!("Note: {note}.")));
    }
    text
}

fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + word.chars().count() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    #[test]
    fn a_table_says_first_that_ring_0_is_emulated() {
        let text = text(&example(0.6));
        let told = text.find("RING 0 IS EMULATED").expect("told");
        assert!(told < text.find("FIGURE").expect("a heading"));
        let mut rows = text.lines().skip_while(|line| !line.starts_with("FIGURE"));
        let row = rows.nth(1).expect("a row");
        assert!(
            row.starts_with("start and end       vm               603 ms"),
            "{row}"
        );
        assert!(row.contains("12.0 ("), "{row}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH + 20));
    }
}
