//! MAC addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The address of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

/// A text that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a valid mac address")]
pub struct InvalidMac(String);

impl FromStr for MacAddress {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let invalid = || InvalidMac(text.to_owned());
        let byte = |part: &str| match part.len() {
            2 => u8::from_str_radix(part, 16).map_err(|_| invalid()),
            _ => Err(invalid()),
        };
        let bytes = text
            .split([':', '-'])
            .map(byte)
            .collect::<Result<Vec<_>, _>>()?;
        let bytes: [u8; 6] = bytes.try_into().map_err(|_| invalid())?;
        // An interface can't have an address of a group.
        if bytes[0] & 1 != 0 {
            return Err(invalid());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        let mac: MacAddress = "02-42-AC-11-00-02".parse().expect("an address");
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        for bad in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:0g",
            "01:42:ac:11:00:02",
            "2:42:ac:11:00:02",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}
