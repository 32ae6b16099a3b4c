//! Tables and times as Docker prints them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

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
    print_rows(&all);
}

/// Prints rows in columns; the last cell of each is as long as it is.
pub fn print_rows(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > column + 1);
        let longest = cells.map(|row| row[column].chars().count()).max();
        (longest.unwrap_or(0) + PADDING).max(MIN_WIDTH)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", padded.collect::<String>().trim_end());
    }
}

/// How long ago, in Docker's words, such as `2 minutes`.
pub fn since(time: Timestamp) -> String {
    words(Timestamp::now().duration_since(time).as_secs().max(0) as u64)
}

fn words(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// A size in decimal units with up to three digits, such as `142MB`, as lists of images have it.
pub fn size(bytes: u64) -> String {
    in_units(bytes, 3)
}

/// The same with up to four digits, as totals have it.
pub fn exact_size(bytes: u64) -> String {
    in_units(bytes, 4)
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
    let before_the_point = (value.max(1.0).log10() as usize) + 1;
    let fraction = digits.saturating_sub(before_the_point);
    let number = format!("{value:.fraction$}");
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => &number,
    };
    format!("{number}{unit}")
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
    fn times_are_dockers_words() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86400 * 3, "3 days"),
        ] {
            assert_eq!(words(seconds), text);
        }
    }

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
