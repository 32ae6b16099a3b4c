//! Other people's rules for forwarded packets. Where Docker is installed, or a firewall, the chain `FORWARD` of iptables drops what it does not
//! know, whatever our own chain accepts: it has to be told that our bridge is none of its business.

use std::process::{Command, Stdio};

use super::netlink::{ask, attribute, terminated};
use super::rules::{self, RulesError};

/// By this the rules are known again.
const COMMENT: &str = "rvm";

/// `NFT_MSG_GETCHAIN` of `linux/netfilter/nf_tables.h`, and its attributes.
const GET_CHAIN: u16 = 10 << 8 | 4;
const TABLE: u16 = 1;
const NAME: u16 = 3;

/// Lets what comes from the bridge, and what goes there, through the chain, if there is one. Asked once for each bridge that is made.
pub fn let_through(bridge: &str) -> Result<(), RulesError> {
    if !has_chain() || !handles(bridge)?.is_empty() {
        return Ok(());
    }
    let insert = |direction| {
        format!(
            "insert rule ip filter FORWARD {direction} \"{bridge}\" counter accept comment \"{COMMENT}\"\n"
        )
    };
    rules::run(&(insert("iifname") + &insert("oifname")))
}

/// Takes the rules back.
pub fn remove(bridge: &str) -> Result<(), RulesError> {
    if !has_chain() {
        return Ok(());
    }
    let rules: String = handles(bridge)?
        .iter()
        .map(|handle| format!("delete rule ip filter FORWARD handle {handle}\n"))
        .collect();
    match rules.is_empty() {
        true => Ok(()),
        false => rules::run(&rules),
    }
}

/// The handles of our rules in the chain.
fn handles(bridge: &str) -> Result<Vec<u64>, RulesError> {
    let list = Command::new("nft")
        .args(["-a", "list", "chain", "ip", "filter", "FORWARD"])
        .stderr(Stdio::null())
        .output()
        .map_err(RulesError::Run)?;
    let list = String::from_utf8_lossy(&list.stdout);
    let (bridge, comment) = (format!("\"{bridge}\""), format!("comment \"{COMMENT}\""));
    let ours = list
        .lines()
        .filter(|line| line.contains(&bridge) && line.contains(&comment));
    Ok(ours
        .filter_map(|line| line.rsplit_once("# handle ")?.1.trim().parse().ok())
        .collect())
}

/// Whether iptables has a chain `FORWARD` among the kernel's nftables. Asked of the kernel itself: nft takes ten times as long to start.
fn has_chain() -> bool {
    // `struct nfgenmsg`.
    let mut body = vec![libc::AF_INET as u8, 0, 0, 0];
    for (kind, name) in [(TABLE, "filter"), (NAME, "FORWARD")] {
        attribute(&mut body, kind, &terminated(name));
    }
    let asked = ask(Some(rustix::net::netlink::NETFILTER), GET_CHAIN, 0, &body);
    if let Err(error) = &asked {
        tracing::debug!(%error, "there is no chain of iptables");
    }
    asked.is_ok()
}
