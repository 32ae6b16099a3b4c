//! The kernel's bits of the specification's capabilities.

use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use rvm_agent_protocol::CAPABILITIES;

use crate::spec::Capabilities;

/// Every capability that has a name.
pub fn all() -> impl Iterator<Item = CapabilitySet> {
    (0..CAPABILITIES.len()).map(bit)
}

/// The bits of a set of names; the first name that is none, otherwise.
pub fn bits(names: &[String]) -> Result<CapabilitySet, &str> {
    names.iter().try_fold(CapabilitySet::empty(), |set, name| {
        let plain = name.strip_prefix("CAP_").unwrap_or(name);
        CAPABILITIES
            .iter()
            .position(|known| *known == plain)
            .map(|number| set | bit(number))
            .ok_or(name.as_str())
    })
}

/// Leaves out what the agent has not itself: a host may have fewer than the kernel knows, and nobody can give what he has not.
pub fn restrict(capabilities: &mut Capabilities) -> Result<(), Errno> {
    let own = rustix::thread::capabilities(None)?.permitted;
    for set in [
        &mut capabilities.bounding,
        &mut capabilities.effective,
        &mut capabilities.inheritable,
        &mut capabilities.permitted,
        &mut capabilities.ambient,
    ] {
        // What is no capability is left for whoever says so.
        set.retain(|name| {
            bits(std::slice::from_ref(name)).map_or(true, |capability| own.contains(capability))
        });
    }
    Ok(())
}

fn bit(number: usize) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_the_bits_of_the_kernel() {
        let names = [
            "CAP_CHOWN",
            "CAP_SYS_CHROOT",
            "MKNOD",
            "CAP_CHECKPOINT_RESTORE",
        ]
        .map(str::to_owned);
        let expected = CapabilitySet::CHOWN
            | CapabilitySet::SYS_CHROOT
            | CapabilitySet::MKNOD
            | CapabilitySet::CHECKPOINT_RESTORE;
        assert_eq!(bits(&names), Ok(expected));
        assert_eq!(bits(&["CAP_FLY".to_owned()]), Err("CAP_FLY"));
    }
}
