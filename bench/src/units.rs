//! Numbers with units that suit their size.

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Time.
    Seconds,
    /// Memory or disk.
    Bytes,
    /// A rate of bytes.
    BytesPerSecond,
    /// A rate of anything else.
    PerSecond,
    /// Just a number.
    Count,
}

const TIMES: [(f64, &str); 4] = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")];
const SIZES: [(f64, &str); 4] = [
    (1_073_741_824.0, "GiB"),
    (1_048_576.0, "MiB"),
    (1024.0, "KiB"),
    (1.0, "B"),
];
const RATES: [(f64, &str); 4] = [
    (1_073_741_824.0, "GiB/s"),
    (1_048_576.0, "MiB/s"),
    (1024.0, "KiB/s"),
    (1.0, "B/s"),
];
const PER_SECOND: [(f64, &str); 4] = [(1e9, "G/s"), (1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")];
const COUNTS: [(f64, &str); 1] = [(1.0, "")];

impl Unit {
    fn steps(self) -> &'static [(f64, &'static str)] {
        match self {
            Self::Seconds => &TIMES,
            Self::Bytes => &SIZES,
            Self::BytesPerSecond => &RATES,
            Self::PerSecond => &PER_SECOND,
            Self::Count => &COUNTS,
        }
    }

    /// The size and the name of the unit in which a number has at least one digit before the point.
    pub fn step(self, number: f64) -> (f64, &'static str) {
        let steps = self.steps();
        let fits = steps.iter().find(|(size, _)| number >= *size);
        *fits.unwrap_or(&steps[steps.len() - 1])
    }

    /// A number with its unit.
    pub fn show(self, number: f64) -> String {
        let (size, name) = self.step(number);
        let text = digits(number / size);
        match name {
            "" => text,
            _ => format!("{text} {name}"),
        }
    }

    /// A round number with its unit, without the zeros that [`Self::show`] fills it up with.
    pub fn mark(self, number: f64) -> String {
        if number == 0.0 {
            return "0".to_owned();
        }
        let (size, name) = self.step(number);
        let text = digits(number / size);
        let short = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => text.as_str(),
        };
        format!("{short} {name}").trim_end().to_owned()
    }

    /// Whether its units are powers of two.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Bytes | Self::BytesPerSecond)
    }

    /// Both ends of an interval, in the unit of the middle.
    pub fn range(self, low: f64, high: f64, middle: f64) -> String {
        let (size, name) = self.step(middle);
        let text = format!("{} – {}", digits(low / size), digits(high / size));
        match name {
            "" => text,
            _ => format!("{text} {name}"),
        }
    }
}

/// Three digits that count; all those before the point, in groups of three.
pub fn digits(number: f64) -> String {
    if number.abs() >= 99.95 {
        return whole(number);
    }
    match number.abs() {
        large if large >= 9.995 => format!("{number:.1}"),
        0.0 => "0".to_owned(),
        small if small < 0.01 => format!("{number:.4}"),
        _ => format!("{number:.2}"),
    }
}

/// Without anything after the point.
pub fn whole(number: f64) -> String {
    grouped(number.round() as i64)
}

fn grouped(number: i64) -> String {
    let text = number.unsigned_abs().to_string();
    let mut grouped = String::new();
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match number < 0 {
        true => format!("-{grouped}"),
        false => grouped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_that_suit_them() {
        assert_eq!(Unit::Seconds.show(0.609), "609 ms");
        assert_eq!(Unit::Seconds.show(2.5e-4), "250 µs");
        assert_eq!(Unit::Seconds.show(3.7e-7), "370 ns");
        assert_eq!(Unit::Bytes.show(5.5 * 1_048_576.0), "5.50 MiB");
        assert_eq!(Unit::BytesPerSecond.show(5.45e9), "5.08 GiB/s");
        assert_eq!(Unit::PerSecond.show(372_426_507.0), "372 M/s");
        assert_eq!(Unit::Count.show(12_345.0), "12,345");
        assert_eq!(Unit::Seconds.range(0.9, 1.2, 1.0), "0.90 – 1.20 s");
        assert_eq!(Unit::Count.show(0.0), "0");
        assert_eq!(Unit::Seconds.mark(0.0), "0");
        assert_eq!(Unit::Seconds.mark(0.01), "10 ms");
        assert_eq!(Unit::Bytes.mark(5.0 * 1_048_576.0), "5 MiB");
        assert_eq!(Unit::Seconds.mark(2.5e-7), "250 ns");
    }
}
