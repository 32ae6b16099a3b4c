//! What a container is given inside its guest, beyond its image: names, limits, privileges.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::capability::Capability;
use super::host::ExtraHost;
use super::mac::MacAddress;
use super::memory::Memory;
use super::security::Security;
use super::tmpfs::Tmpfs;
use super::ulimit::Ulimit;

/// Options that take effect inside the guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GuestOptions {
    /// The first process is an init that reaps and passes signals on.
    pub init: bool,
    /// All capabilities and all of the guest's devices.
    pub privileged: bool,
    /// Further lines of `/etc/hosts`.
    pub extra_hosts: Vec<ExtraHost>,
    /// Name servers, in place of the host's.
    pub dns: Vec<IpAddr>,
    /// Search domains, in place of the host's.
    pub dns_search: Vec<String>,
    /// Options of the resolver, in place of the host's.
    pub dns_options: Vec<String>,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// The size of `/dev/shm`.
    pub shm_size: Option<Memory>,
    /// Limits of processes.
    pub ulimits: Vec<Ulimit>,
    /// Capabilities beyond Docker's default.
    pub cap_add: Vec<Capability>,
    /// Capabilities that are taken from the default.
    pub cap_drop: Vec<Capability>,
    /// `--security-opt`.
    pub security: Security,
    /// The most processes; 0 and less is no limit.
    pub pids_limit: Option<i64>,
    /// Further groups, by name or number.
    pub groups: Vec<String>,
    /// Kernel parameters of the guest.
    pub sysctls: BTreeMap<String, String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// The MAC address, in place of one that follows from the IP address.
    pub mac_address: Option<MacAddress>,
}

/// A kernel parameter, `NAME=VALUE`. As in sysctl(8), whichever of dot and slash comes first in a name separates its parts; here
/// that is the dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl(pub String, pub String);

/// A text that sets no kernel parameter.
#[derive(Debug, thiserror::Error)]
#[error("invalid sysctl '{0}': expected NAME=VALUE, as in net.core.somaxconn=1024")]
pub struct InvalidSysctl(String);

impl FromStr for Sysctl {
    type Err = InvalidSysctl;

    fn from_str(text: &str) -> Result<Self, InvalidSysctl> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        text.split_once('=')
            .filter(|(name, value)| {
                !name.is_empty() && name.bytes().all(known) && !value.contains('\0')
            })
            .filter(|(name, _)| name.split(['.', '/']).all(|part| !part.is_empty()))
            .map(|(name, value)| Self(with_dots(name), value.to_owned()))
            .ok_or_else(|| InvalidSysctl(text.to_owned()))
    }
}

/// A parameter's name with dots between its parts, and slashes for the dots in them.
fn with_dots(name: &str) -> String {
    let separator = name.find(['.', '/']).map(|at| name.as_bytes()[at]);
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    match separator {
        Some(b'/') => name.chars().map(swap).collect(),
        _ => name.to_owned(),
    }
}

/// A search domain; a dot alone is none at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchDomain(pub String);

/// A text that is no domain.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a valid domain")]
pub struct InvalidDomain(String);

impl FromStr for SearchDomain {
    type Err = InvalidDomain;

    fn from_str(text: &str) -> Result<Self, InvalidDomain> {
        let text = text.trim();
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let plain = text.strip_suffix('.').unwrap_or(text);
        if text == "." || (text.len() <= 255 && plain.split('.').all(label)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidDomain(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_domains_are_checked() {
        for (given, name) in [
            ("net.core.somaxconn=5", "net.core.somaxconn"),
            ("net/core/somaxconn=5", "net.core.somaxconn"),
            (
                "net/ipv4/conf/eth0.1/forwarding=5",
                "net.ipv4.conf.eth0/1.forwarding",
            ),
        ] {
            let Sysctl(found, value) = given.parse().expect("a parameter");
            assert_eq!((found.as_str(), value.as_str()), (name, "5"));
        }
        for bad in ["net", "=1", "net..x=1", "../x=1", "a b=1"] {
            assert!(bad.parse::<Sysctl>().is_err(), "{bad}");
        }
        for good in ["example.com", ".", "a.b."] {
            assert!(good.parse::<SearchDomain>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a..b", "a\nb"] {
            assert!(bad.parse::<SearchDomain>().is_err(), "{bad}");
        }
    }
}
