//! The nftables rules: one table for each network, in which a published port is one element of a map.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use super::Endpoint;
use crate::options::port::Publish;
use crate::state::Subnet;

/// Why the rules could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// No nft.
    #[error(
        "cannot run nft, which sets up the containers' network: install the package nftables, or give --network none"
    )]
    Run(#[source] io::Error),
    /// nft does not take them.
    #[error("nft refused the rules of the containers' network: {0}")]
    Refused(String),
}

/// Adds a container's ports. The whole table is stated each time, in one transaction: so it does not matter whether it is
/// there, or whether someone has flushed the ruleset in between.
pub fn connect(network: &str, subnet: Subnet, endpoint: &Endpoint) -> Result<(), RulesError> {
    let mut rules = table(network, subnet);
    for port in &endpoint.ports {
        let _ = writeln!(
            rules,
            "add element ip {network} {}",
            element(port, endpoint, true)
        );
    }
    run(&rules)
}

/// Removes a container's ports.
pub fn disconnect(network: &str, endpoint: &Endpoint) -> Result<(), RulesError> {
    if endpoint.ports.is_empty() {
        return Ok(());
    }
    // Adding what may be there makes deleting succeed if it is not.
    let mut rules = maps(network);
    for port in &endpoint.ports {
        let _ = writeln!(
            rules,
            "add element ip {network} {}",
            element(port, endpoint, true)
        );
        let _ = writeln!(
            rules,
            "delete element ip {network} {}",
            element(port, endpoint, false)
        );
    }
    run(&rules)
}

/// Removes the table.
pub fn remove(network: &str) -> Result<(), RulesError> {
    run(&format!(
        "add table ip {network}\ndelete table ip {network}\n"
    ))
}

fn maps(network: &str) -> String {
    format!(
        "add table ip {network}
add map ip {network} published {{ type inet_proto . inet_service : ipv4_addr . inet_service ; }}
add map ip {network} published_at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service ; }}
"
    )
}

fn table(network: &str, subnet: Subnet) -> String {
    let mut rules = maps(network);
    let chains = [
        ("guard", "type filter hook prerouting priority raw"),
        ("prerouting", "type nat hook prerouting priority dstnat"),
        // The name dstnat is not known at this hook.
        ("output", "type nat hook output priority -100"),
        ("postrouting", "type nat hook postrouting priority srcnat"),
        ("forward", "type filter hook forward priority filter"),
    ];
    for (chain, kind) in chains {
        let _ = writeln!(
            rules,
            "add chain ip {network} {chain} {{ {kind} ; }}\nflush chain ip {network} {chain}"
        );
    }
    let translate = [
        "dnat ip to ip daddr . meta l4proto . th dport map @published_at",
        "fib daddr type local dnat ip to meta l4proto . th dport map @published",
    ];
    let list = [
        // route_localnet is on for the bridge, and what listens on the host's loopback is none of the guests' business.
        (
            "guard",
            format!("iifname {network} ip daddr 127.0.0.0/8 drop"),
        ),
        ("prerouting", translate[0].to_owned()),
        ("prerouting", translate[1].to_owned()),
        ("output", translate[0].to_owned()),
        ("output", translate[1].to_owned()),
        (
            "postrouting",
            format!("ip saddr {subnet} oifname != {network} masquerade"),
        ),
        // What comes from the host's loopback, or from a container to its own published port, needs an answer that comes back here.
        (
            "postrouting",
            format!("ip saddr 127.0.0.0/8 oifname {network} masquerade"),
        ),
        (
            "postrouting",
            format!("ip saddr {subnet} oifname {network} ct status dnat masquerade"),
        ),
        ("forward", format!("iifname {network} accept")),
        (
            "forward",
            format!("oifname {network} ct state established,related accept"),
        ),
        (
            "forward",
            format!("oifname {network} ct status dnat accept"),
        ),
        // As with Docker, a neighbour on the host's networks reaches published ports and no others.
        ("forward", format!("oifname {network} drop")),
    ];
    for (chain, rule) in list {
        let _ = writeln!(rules, "add rule ip {network} {chain} {rule}");
    }
    rules
}

fn element(port: &Publish, endpoint: &Endpoint, with_value: bool) -> String {
    let Publish {
        host_address,
        host_port,
        container_port,
        protocol,
    } = port;
    let value = if with_value {
        format!(" : {} . {container_port}", endpoint.address)
    } else {
        String::new()
    };
    if host_address.is_unspecified() {
        format!("published {{ {protocol} . {host_port}{value} }}")
    } else {
        format!("published_at {{ {host_address} . {protocol} . {host_port}{value} }}")
    }
}

/// Has nft carry out commands, all or none.
pub(super) fn run(rules: &str) -> Result<(), RulesError> {
    let mut command = Command::new("nft");
    command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut nft = command.spawn().map_err(RulesError::Run)?;
    if let Some(mut input) = nft.stdin.take() {
        // If nft ends early, then what it says on standard error is the better reason.
        let _ = input.write_all(rules.as_bytes());
    }
    let output = nft.wait_with_output().map_err(RulesError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    tracing::debug!(rules, "refused");
    Err(RulesError::Refused(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}
