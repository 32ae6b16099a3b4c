//! Amounts of memory such as `512m`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of memory in bytes, written as a number with one of the units b, k, m and g (powers of 1,024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Memory(u64);

/// A text that is no amount of memory.
#[derive(Debug, thiserror::Error)]
#[error("invalid memory size '{0}': write a number and a unit, b, k, m or g, such as 512m")]
pub struct InvalidMemory(String);

impl Memory {
    /// So many MiB.
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// In MiB, what is left over dropped.
    pub fn whole_mib(self) -> u64 {
        self.0 >> 20
    }
}

impl FromStr for Memory {
    type Err = InvalidMemory;

    fn from_str(text: &str) -> Result<Self, InvalidMemory> {
        let invalid = || InvalidMemory(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let number_end = lower
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(lower.len());
        let (number, unit) = lower.split_at(number_end);
        let shift = match unit.trim_start() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(invalid()),
        };
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let bytes = number * f64::from(shift).exp2();
        if !bytes.is_finite() || bytes < 0.0 || bytes >= u64::MAX as f64 {
            return Err(invalid());
        }
        Ok(Self(bytes as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_dockers() {
        for (text, bytes) in [
            ("512m", 512 << 20),
            ("1g", 1 << 30),
            ("1.5G", 3 << 29),
            ("64k", 64 << 10),
            ("7", 7),
            ("7b", 7),
            ("2 MB", 2 << 20),
        ] {
            assert_eq!(text.parse::<Memory>().expect(text).bytes(), bytes, "{text}");
        }
        for bad in [
            "",
            "m",
            "12x",
            "-1m",
            "1..2m",
            "1mm",
            "nan",
            "9999999999999t",
        ] {
            assert!(bad.parse::<Memory>().is_err(), "{bad}");
        }
    }
}
