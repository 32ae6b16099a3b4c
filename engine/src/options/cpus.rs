//! A number of processors such as `1.5`.

use std::str::FromStr;

use rvm_vmm::config::MAX_VCPUS;
use serde::{Deserialize, Serialize};

/// Processor time a container may use, in thousandths of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpus(u32);

/// A text that is no number of processors a guest can have.
#[derive(Debug, thiserror::Error)]
#[error("invalid number of CPUs '{0}': a container gets more than 0 and at most {MAX_VCPUS} CPUs")]
pub struct InvalidCpus(String);

impl Cpus {
    /// As many as a guest can have.
    pub const MOST: Self = Self(MAX_VCPUS as u32 * 1000);
    /// One processor.
    pub const ONE: Self = Self(1000);

    /// How many vCPUs the guest needs for it.
    pub fn vcpus(self) -> u8 {
        self.0.div_ceil(1000) as u8
    }

    /// In billionths of a processor, as Docker's API has it.
    pub fn nano(self) -> u64 {
        u64::from(self.0) * 1_000_000
    }

    /// The share of a period of 100 ms, in microseconds, to which the container is held; none when the vCPUs themselves are the limit.
    pub fn quota(self) -> Option<i64> {
        (!self.0.is_multiple_of(1000)).then(|| i64::from(self.0) * 100)
    }
}

impl FromStr for Cpus {
    type Err = InvalidCpus;

    fn from_str(text: &str) -> Result<Self, InvalidCpus> {
        let invalid = || InvalidCpus(text.to_owned());
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return Err(invalid());
        }
        let thousandths = (text.parse::<f64>().map_err(|_| invalid())? * 1000.0).round();
        if thousandths < 1.0 || thousandths > f64::from(MAX_VCPUS) * 1000.0 {
            return Err(invalid());
        }
        Ok(Self(thousandths as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_a_quota_on_whole_vcpus() {
        let cpus: Cpus = "1.5".parse().expect("1.5");
        assert_eq!((cpus.vcpus(), cpus.quota()), (2, Some(150_000)));
        let cpus: Cpus = "2".parse().expect("2");
        assert_eq!((cpus.vcpus(), cpus.quota()), (2, None));
        let cpus: Cpus = ".25".parse().expect(".25");
        assert_eq!((cpus.vcpus(), cpus.quota()), (1, Some(25_000)));
    }

    #[test]
    fn no_processors_and_too_many_are_refused() {
        for bad in ["0", "0.0001", "32.5", "33", "-1", "1e1", "two", "", "."] {
            assert!(bad.parse::<Cpus>().is_err(), "{bad}");
        }
        assert!("32".parse::<Cpus>().is_ok());
    }
}
