//! What the kernel says of a process: its namespaces, capabilities and control group.

use std::collections::BTreeMap;
use std::fs;

/// In the order of `linux/capability.h`.
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The names of a set of capabilities, as `/proc` writes it.
pub fn capabilities(set: &str) -> Vec<String> {
    let set = u64::from_str_radix(set, 16).unwrap_or_default();
    let names = CAPABILITIES.iter().enumerate();
    names
        .filter(|(bit, _)| set >> bit & 1 == 1)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// The process's namespaces, such as `pid` and `pid:[4026531836]`.
pub fn namespaces() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/proc/self/ns")
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let identity = fs::read_link(entry.path()).ok()?;
            // The one for children is the same.
            let once = !name.ends_with("_for_children");
            once.then(|| (name, identity.to_string_lossy().into_owned()))
        })
        .collect()
}

/// The control group's path: that of version 2, or of the memory controller.
pub fn cgroup(text: &str) -> String {
    let mut lines = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    let memory = lines
        .clone()
        .find(|(controllers, _)| controllers.split(',').any(|name| name == "memory"));
    let found = memory.or_else(|| lines.find(|(controllers, _)| controllers.is_empty()));
    found.map(|(_, path)| path.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named_by_their_bits() {
        assert_eq!(capabilities("0000000000000021"), ["chown", "kill"]);
        assert_eq!(capabilities("000001ffffffffff").len(), 41);
        assert_eq!(capabilities("nonsense"), [""; 0]);
    }

    #[test]
    fn the_control_group_is_that_of_memory_or_of_version_2() {
        assert_eq!(cgroup("3:cpu,cpuacct:/a\n2:memory:/b\n0::/c\n"), "/b");
        assert_eq!(cgroup("0::/c\n"), "/c");
        assert_eq!(cgroup(""), "");
    }
}
