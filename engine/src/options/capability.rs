//! Capabilities as `--cap-add` and `--cap-drop` name them, and what they make of Docker's default.

use std::str::FromStr;

use rvm_agent_protocol::CAPABILITIES;
use serde::{Deserialize, Serialize};

/// A capability, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capability {
    /// `ALL`.
    All,
    /// One, by a name such as `CAP_CHOWN`.
    One(String),
}

/// A text that names no capability.
#[derive(Debug, thiserror::Error)]
#[error("unknown capability: \"{0}\"")]
pub struct UnknownCapability(String);

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        let upper = text.trim().to_ascii_uppercase();
        if upper == "ALL" || upper == "CAP_ALL" {
            return Ok(Self::All);
        }
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if CAPABILITIES.contains(&name) {
            Ok(Self::One(format!("CAP_{name}")))
        } else {
            Err(UnknownCapability(format!("CAP_{name}")))
        }
    }
}

/// Every capability.
pub fn all() -> Vec<String> {
    CAPABILITIES
        .iter()
        .map(|name| format!("CAP_{name}"))
        .collect()
}

/// What is left of `default` after some are added and some are dropped, as Docker has it: `ALL` among the added is the ground that
/// is dropped from, `ALL` among the dropped the ground that is added to; of both, what is added stays.
pub fn adjust(default: Vec<String>, add: &[Capability], drop: &[Capability]) -> Vec<String> {
    let names = |list: &[Capability]| -> Vec<String> {
        let one = |capability: &Capability| match capability {
            Capability::One(name) => Some(name.clone()),
            Capability::All => None,
        };
        list.iter().filter_map(one).collect()
    };
    let dropped = names(drop);
    if add.contains(&Capability::All) {
        return all()
            .into_iter()
            .filter(|name| !dropped.contains(name))
            .collect();
    }
    let mut kept = if drop.contains(&Capability::All) {
        Vec::new()
    } else {
        default
    };
    kept.retain(|name| !dropped.contains(name));
    for name in names(add) {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjusted(add: &[&str], drop: &[&str]) -> String {
        let list = |names: &[&str]| -> Vec<Capability> {
            names.iter().map(|name| name.parse().expect(name)).collect()
        };
        let default = ["CAP_CHOWN", "CAP_KILL"].map(str::to_owned).to_vec();
        adjust(default, &list(add), &list(drop)).join(" ")
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        assert_eq!(adjusted(&[], &[]), "CAP_CHOWN CAP_KILL");
        assert_eq!(
            adjusted(&["net_admin"], &["CAP_KILL"]),
            "CAP_CHOWN CAP_NET_ADMIN"
        );
        assert_eq!(adjusted(&["SYS_TIME"], &["ALL"]), "CAP_SYS_TIME");
        assert_eq!(adjusted(&["KILL"], &["KILL"]), "CAP_CHOWN CAP_KILL");
        assert_eq!(adjusted(&["all"], &["chown"]).split(' ').count(), 40);
        assert!("CAP_FLY".parse::<Capability>().is_err());
    }
}
