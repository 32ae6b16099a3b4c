//! Points in time as Docker's filters and `--since` take them: `24h` ago, a date, RFC 3339, or seconds since 1970.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A text that is no point in time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is no point in time: expected something like 10m, 24h, 2026-01-31, 2026-01-31T09:30:00 or seconds since 1970"
)]
pub struct InvalidMoment(String);

/// Reads a point in time; a duration counts back from `now`, what has no time zone is in the host's.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, InvalidMoment> {
    let invalid = || InvalidMoment(text.to_owned());
    if let Some(ago) = duration(text) {
        return now.checked_sub(ago).map_err(|_| invalid());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<DateTime>() {
        let zoned = time.to_zoned(TimeZone::system());
        return zoned.map(|zoned| zoned.timestamp()).map_err(|_| invalid());
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
    let nanoseconds = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
    Timestamp::new(seconds, nanoseconds).map_err(|_| invalid())
}

/// Go's durations: numbers, each with its unit.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..unit_at].parse().ok()?;
        rest = &rest[unit_at..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(total)
        .ok()
        .filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_forms_are_read() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("time");
        for (text, time) in [
            ("1h30m", "2026-01-31T10:30:00Z"),
            ("90s", "2026-01-31T11:58:30Z"),
            ("1.5h", "2026-01-31T10:30:00Z"),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z"),
            ("1000000000", "2001-09-09T01:46:40Z"),
            ("1000000000.5", "2001-09-09T01:46:40.5Z"),
        ] {
            assert_eq!(parse(text, now), Ok(time.parse().expect("time")), "{text}");
        }
        assert!(parse("2026-01-02", now).is_ok() && parse("2026-01-02T03:04:05", now).is_ok());
        for text in ["", "h", "1x", "yesterday", "1h-", "99999999999999999999"] {
            assert!(parse(text, now).is_err(), "{text}");
        }
    }
}
