//! The column PORTS.

use std::collections::BTreeMap;

use crate::container::Container;
use crate::options::port::Publish;

/// A port as a list shows it; without a host's one it is only exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port<'a> {
    container: u16,
    protocol: &'a str,
    host: Option<(std::net::Ipv4Addr, u16)>,
}

/// The ports of a container that runs: published ones, and those that its image exposes.
pub fn of(container: &Container) -> Vec<Port<'_>> {
    if !container.state.has_process() {
        return Vec::new();
    }
    let endpoint = container.endpoint.iter();
    let published: Vec<&Publish> = endpoint.flat_map(|endpoint| &endpoint.ports).collect();
    let mut ports: Vec<Port<'_>> = Vec::new();
    for port in &published {
        ports.push(Port {
            container: port.container_port,
            protocol: protocol(port),
            host: Some((port.host_address, port.host_port)),
        });
    }
    for exposed in &container.settings.exposed {
        let (number, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        let Ok(number) = number.parse() else { continue };
        let is_published = |port: &Port<'_>| port.container == number && port.protocol == protocol;
        if !ports.iter().any(is_published) {
            ports.push(Port {
                container: number,
                protocol,
                host: None,
            });
        }
    }
    ports.sort();
    ports
}

fn protocol(port: &Publish) -> &'static str {
    match port.protocol {
        crate::options::port::Protocol::Tcp => "tcp",
        crate::options::port::Protocol::Udp => "udp",
    }
}

impl Port<'_> {
    /// Whether it is this port of the container.
    pub fn is_exposed(&self, number: u16, protocol: &str) -> bool {
        self.container == number && self.protocol == protocol
    }

    /// Whether it is published on this port of the host.
    pub fn is_published(&self, number: u16, protocol: &str) -> bool {
        self.protocol == protocol && self.host.is_some_and(|(_, port)| port == number)
    }
}

/// Ports as Docker writes them, those that follow each other joined: `80-81/tcp, 0.0.0.0:8080-8081->8080-8081/tcp`.
pub fn text(ports: &[Port<'_>]) -> String {
    let mut out = Vec::new();
    // What is published under another number stands alone, as with Docker.
    let mut runs: BTreeMap<(Option<std::net::Ipv4Addr>, &str), Vec<u16>> = BTreeMap::new();
    let mut alone = Vec::new();
    for port in ports {
        match port.host {
            Some((address, host)) if host != port.container => alone.push(format!(
                "{address}:{host}->{}/{}",
                port.container, port.protocol
            )),
            host => runs
                .entry((host.map(|(address, _)| address), port.protocol))
                .or_default()
                .push(port.container),
        }
    }
    for ((address, protocol), numbers) in runs {
        for run in consecutive(&numbers) {
            let run = match run {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            };
            out.push(match address {
                Some(address) => format!("{address}:{run}->{run}/{protocol}"),
                None => format!("{run}/{protocol}"),
            });
        }
    }
    out.extend(alone);
    out.join(", ")
}

/// The runs of sorted numbers, each by its first and its last one.
fn consecutive(numbers: &[u16]) -> Vec<(u16, u16)> {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if number.checked_sub(*last).is_some_and(|step| step <= 1) => {
                *last = *number;
            }
            _ => runs.push((*number, *number)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_joined_and_ordered_as_dockers() {
        let port = |container, protocol, host: Option<u16>| Port {
            container,
            protocol,
            host: host.map(|port| (std::net::Ipv4Addr::UNSPECIFIED, port)),
        };
        let ports = [
            port(53, "udp", None),
            port(80, "tcp", Some(8080)),
            port(81, "tcp", None),
            port(82, "tcp", None),
            port(90, "tcp", Some(90)),
            port(91, "tcp", Some(91)),
        ];
        assert_eq!(
            text(&ports),
            "81-82/tcp, 53/udp, 0.0.0.0:90-91->90-91/tcp, 0.0.0.0:8080->80/tcp"
        );
        assert_eq!(text(&[]), "");
    }
}
