//! Published ports such as `127.0.0.1:8080-8081:80-81/tcp`.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the container that is to be reached through one of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The host's address, unspecified for all of them.
    pub host_address: Ipv4Addr,
    /// The host's port; 0 lets the kernel choose a free one.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// Of which protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}->{}/{}",
            self.host_address, self.host_port, self.container_port, self.protocol
        )
    }
}

/// Why a text is no port to publish.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPublish {
    /// The host part is no IPv4 address.
    #[error("invalid host address '{address}' in '{text}': an IPv4 address is needed")]
    Address {
        /// The address.
        address: String,
        /// The whole option.
        text: String,
    },
    /// Not a port number or range.
    #[error(
        "invalid port '{port}' in '{text}': ports are numbers from 1 to 65535, or ranges such as 8000-8010"
    )]
    Port {
        /// The port.
        port: String,
        /// The whole option.
        text: String,
    },
    /// Not tcp or udp.
    #[error("invalid protocol '{protocol}' in '{text}': it is tcp or udp")]
    Protocol {
        /// The protocol.
        protocol: String,
        /// The whole option.
        text: String,
    },
    /// Ranges of different lengths.
    #[error("the ranges of ports in '{0}' have different lengths")]
    Ranges(String),
}

/// Parses `[[HOST_ADDRESS:][HOST_PORT]:]CONTAINER_PORT[/PROTOCOL]`, where ports may be ranges of the same length.
pub fn parse(text: &str) -> Result<Vec<Publish>, InvalidPublish> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        other => {
            return Err(InvalidPublish::Protocol {
                protocol: other.to_owned(),
                text: text.to_owned(),
            });
        }
    };
    let (host, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, host) = host.rsplit_once(':').unwrap_or(("", host));
    let host_address = match address {
        "" => Ipv4Addr::UNSPECIFIED,
        address => address.parse().map_err(|_| InvalidPublish::Address {
            address: address.to_owned(),
            text: text.to_owned(),
        })?,
    };
    let container = range(container, text)?;
    let count = container.len();
    let host: Vec<u16> = match host {
        "" => vec![0; count],
        host => range(host, text)?.collect(),
    };
    if host.len() != count {
        return Err(InvalidPublish::Ranges(text.to_owned()));
    }
    let pairs = host.into_iter().zip(container);
    Ok(pairs
        .map(|(host_port, container_port)| Publish {
            host_address,
            host_port,
            container_port,
            protocol,
        })
        .collect())
}

fn range(ports: &str, text: &str) -> Result<RangeInclusive<u16>, InvalidPublish> {
    let invalid = || InvalidPublish::Port {
        port: ports.to_owned(),
        text: text.to_owned(),
    };
    let port = |text: &str| {
        text.parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(invalid)
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u16, u16) = (port(first)?, port(last)?);
    if first > last {
        return Err(invalid());
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        parse(text)
            .expect(text)
            .iter()
            .map(Publish::to_string)
            .collect()
    }

    #[test]
    fn every_form_of_docker_is_understood() {
        assert_eq!(shown("80"), ["0.0.0.0:0->80/tcp"]);
        assert_eq!(shown("8080:80"), ["0.0.0.0:8080->80/tcp"]);
        assert_eq!(shown("127.0.0.1:8080:80/udp"), ["127.0.0.1:8080->80/udp"]);
        assert_eq!(shown("127.0.0.1::80"), ["127.0.0.1:0->80/tcp"]);
        assert_eq!(
            shown("8000-8001:80-81"),
            ["0.0.0.0:8000->80/tcp", "0.0.0.0:8001->81/tcp"]
        );
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for bad in [
            "",
            "0:80",
            "80:0",
            "70000:80",
            "a:80",
            "80/sctp",
            "1-2:80",
            "2-1:2-1",
            "::1:80:80",
            "host:80:80",
            "80:",
            "-1:80",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
