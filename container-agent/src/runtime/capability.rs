//! The kernel's bits of the specification's capabilities.

use rustix::thread::CapabilitySet;

/// In the order of their numbers, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Every capability that has a name.
pub fn all() -> impl Iterator<Item = CapabilitySet> {
    (0..NAMES.len()).map(bit)
}

/// The bits of a set of names; the first name that is none, otherwise.
pub fn bits(names: &[String]) -> Result<CapabilitySet, &str> {
    names.iter().try_fold(CapabilitySet::empty(), |set, name| {
        let plain = name.strip_prefix("CAP_").unwrap_or(name);
        NAMES
            .iter()
            .position(|known| *known == plain)
            .map(|number| set | bit(number))
            .ok_or(name.as_str())
    })
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
