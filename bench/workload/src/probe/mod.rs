//! What a process inside sees of the kernel, the host and its own rights: tried, and never changed.

mod calls;
mod rights;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rvm_workload::Probe;

/// What a process could change of the kernel by writing.
const KERNEL_FILES: [&str; 12] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/vm/drop_caches",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/power/state",
    "/sys/fs/cgroup/cgroup.procs",
    "/dev/mem",
    "/dev/kmsg",
];

/// Where services of a host listen.
const SOCKETS: [&str; 8] = [
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/dbus/system_bus_socket",
    "/run/systemd/private",
    "/run/systemd/journal/socket",
];

/// No file of `/proc` that is read here is longer.
const LONGEST: u64 = 1 << 20;

/// Looks around.
pub fn look() -> Probe {
    let status = text("/proc/self/status");
    let cpuinfo = text("/proc/cpuinfo");
    let (calls, user_namespaces) = (calls::all(), calls::user_namespace());
    Probe {
        kernel: line("/proc/sys/kernel/osrelease"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        uptime: number(line("/proc/uptime").split('.').next()),
        cmdline: line("/proc/cmdline"),
        processor: field(&cpuinfo, "model name"),
        processors: cpuinfo
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count(),
        memory_kib: number(field(&text("/proc/meminfo"), "MemTotal").split(' ').next()),
        processes: processes(),
        devices: devices(),
        disks: names("/sys/block"),
        calls,
        user_namespaces,
        writable: strings(KERNEL_FILES.iter().filter(|path| opens_for_writing(path))),
        kcore: File::open("/proc/kcore")
            .is_ok_and(|mut file| file.read(&mut [0]).is_ok_and(|count| count > 0)),
        kernel_addresses: kernel_addresses(),
        kernel_log: calls::kernel_log(),
        sockets: strings(SOCKETS.iter().filter(|path| Path::new(path).exists())),
        abstract_sockets: text("/proc/net/unix")
            .lines()
            .filter(|line| line.contains(" @"))
            .count(),
        namespaces: rights::namespaces(),
        capabilities: rights::capabilities(&field(&status, "CapEff")),
        seccomp: field(&status, "Seccomp").parse().unwrap_or_default(),
        no_new_privileges: field(&status, "NoNewPrivs") == "1",
        cgroup: rights::cgroup(&text("/proc/self/cgroup")),
        clock: calls::clock(),
    }
}

/// A file's beginning, or nothing.
fn text(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What could be read before an error is as good.
        let _ = file.take(LONGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn line(path: &str) -> String {
    text(path).lines().next().unwrap_or_default().to_owned()
}

/// The value of a line such as `NAME:  VALUE`.
fn field(text: &str, name: &str) -> String {
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    });
    value.unwrap_or_default()
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn strings<'a>(paths: impl Iterator<Item = &'a &'static str>) -> Vec<String> {
    paths.map(|path| (*path).to_owned()).collect()
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn processes() -> Vec<String> {
    names("/proc")
        .iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|id| line(&format!("/proc/{id}/comm")))
        .collect()
}

fn devices() -> Vec<String> {
    let is_node = |name: &String| {
        let kind = fs::symlink_metadata(Path::new("/dev").join(name)).map(|data| data.file_type());
        kind.is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
    };
    names("/dev").into_iter().filter(is_node).collect()
}

fn opens_for_writing(path: &str) -> bool {
    let Ok(file) = File::options().write(true).open(path) else {
        return false;
    };
    // A masked file is /dev/null.
    !file
        .metadata()
        .is_ok_and(|data| data.file_type().is_char_device() && path.starts_with("/proc"))
}

fn kernel_addresses() -> bool {
    let first = text("/proc/kallsyms");
    let mut addresses = first.lines().filter_map(|line| line.split(' ').next());
    addresses.any(|address| address.bytes().any(|byte| byte != b'0'))
}
