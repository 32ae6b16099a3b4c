//! Lines for a container's `/etc/hosts`, as `--add-host` has them: `NAME:ADDRESS`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name and its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// The address; `None` is the gateway, by which the container reaches the host.
    pub address: Option<IpAddr>,
}

/// A text that is no name with an address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// No name and address.
    #[error("bad format for add-host: \"{0}\"")]
    Format(String),
    /// No address.
    #[error("invalid IP address in add-host: \"{0}\"")]
    Address(String),
}

/// What stands for the host itself.
const GATEWAY: &str = "host-gateway";

impl fmt::Display for ExtraHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}:{address}", self.name),
            None => write!(f, "{}:{GATEWAY}", self.name),
        }
    }
}

impl FromStr for ExtraHost {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let (name, address) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .filter(|(name, _)| !name.is_empty() && !name.contains([':', ' ', '\t', '\n']))
            .ok_or_else(|| InvalidHost::Format(text.to_owned()))?;
        let plain = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(address);
        let address = match plain {
            GATEWAY => None,
            plain => Some(
                plain
                    .parse()
                    .map_err(|_| InvalidHost::Address(plain.to_owned()))?,
            ),
        };
        Ok(Self {
            name: name.to_owned(),
            address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        let host = |text: &str| text.parse::<ExtraHost>().map(|h| (h.name, h.address));
        let address = |text: &str| Some(text.parse().expect(text));
        assert_eq!(host("db:10.0.0.1"), Ok(("db".into(), address("10.0.0.1"))));
        assert_eq!(host("db=fd00::1"), Ok(("db".into(), address("fd00::1"))));
        assert_eq!(host("db:[::1]"), Ok(("db".into(), address("::1"))));
        assert_eq!(host("h:host-gateway"), Ok(("h".into(), None)));
        let shown = |text: &str| text.parse::<ExtraHost>().map(|host| host.to_string());
        assert_eq!(shown("db=[::1]"), Ok("db:::1".into()));
        assert_eq!(shown("h:host-gateway"), Ok("h:host-gateway".into()));
        assert_eq!(host("db"), Err(InvalidHost::Format("db".into())));
        assert_eq!(
            host(":1.1.1.1"),
            Err(InvalidHost::Format(":1.1.1.1".into()))
        );
        assert_eq!(host("db:x"), Err(InvalidHost::Address("x".into())));
    }
}
