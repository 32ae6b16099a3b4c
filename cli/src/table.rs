//! Tables and times as Docker prints them.

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
pub use rvm_engine::words::since;

/// A column is at least so wide, the space behind it counted.
const MIN_WIDTH: usize = 10;
/// Blanks behind the longest cell of a column.
const PADDING: usize = 3;

/// Prints rows below a heading.
pub fn print(heading: &[&str], rows: &[Vec<String>]) {
    let heading = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let all: Vec<Vec<String>> = std::iter::once(heading)
        .chain(rows.iter().cloned())
        .collect();
    put(&render(&all));
}

/// Writes to standard output; whoever reads no further, such as `head`, has seen enough.
pub fn put(text: &str) {
    if let Err(error) = std::io::stdout().write_all(text.as_bytes()) {
        tracing::debug!(%error, "standard output can't be written");
    }
}

/// Rows in columns; the last cell of each is as long as it is.
pub fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > column + 1);
        let longest = cells.map(|row| row[column].chars().count()).max();
        (longest.unwrap_or(0) + PADDING).max(MIN_WIDTH)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        text += padded.collect::<String>().trim_end();
        text.push('\n');
    }
    text
}

/// A size in decimal units with up to three digits, such as `142MB`, as lists of images have it.
pub fn size(bytes: u64) -> String {
    in_units(bytes, 3)
}

/// The same with up to four digits, as totals have it.
pub fn exact_size(bytes: u64) -> String {
    in_units(bytes, 4)
}

/// A size in binary units with up to four digits, such as `256MiB`, as `stats` has it.
pub fn binary_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 1024.0 {
        let Some(next) = units.next() else { break };
        value /= 1024.0;
        unit = next;
    }
    digits(value, 4) + unit
}

/// As Go's `%.3g` and the like print it: no zeros at the end of a fraction.
fn in_units(bytes: u64, digits: usize) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 1000.0 {
        let Some(next) = units.next() else { break };
        value /= 1000.0;
        unit = next;
    }
    self::digits(value, digits) + unit
}

fn digits(value: f64, digits: usize) -> String {
    let before_the_point = (value.max(1.0).log10() as usize) + 1;
    let fraction = digits.saturating_sub(before_the_point);
    let number = format!("{value:.fraction$}");
    match number.contains('.') {
        true => number
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => number,
    }
}

/// A point in time as Go prints one: `2026-01-31 09:30:00 +0100 CET`.
pub fn moment(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %z %Z")
        .to_string()
}

/// Cuts a text to `limit` characters, the last of them an ellipsis.
pub fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1_500, "1.5kB"),
            (12_345_678, "12.3MB"),
            (142_000_000, "142MB"),
            (2_000_000_000, "2GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(exact_size(12_345_678), "12.35MB");
        assert_eq!(exact_size(100), "100B");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
    }
}
