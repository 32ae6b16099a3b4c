//! Memory that a container does not use any more goes back to the host, and so does what `update` takes from it.

use std::fs;

use crate::needs_microvm;
use crate::support::{Container, Host, wait_until};

/// What the container writes, in KiB.
const WRITTEN: u64 = 100 << 10;

#[test]
fn memory_that_a_container_frees_goes_back_to_the_host() {
    needs_microvm!();
    // A template's pages are shared with nobody else's clones.
    let host = Host::empty().load(&["busybox"]);
    // The first one's memory is its own; the second one goes on from a template, and has copies.
    for template in [&["--no-template"][..], &[]] {
        let options = [
            "--privileged",
            "--network",
            "none",
            "busybox",
            "sleep",
            "1000000",
        ];
        let container = host.detached(template.iter().copied().chain(options));
        let before = resident(&container);
        // Huge pages only spare an emulated kernel the minutes that it takes to fill small ones.
        container.sh("mount -o remount,size=128m,huge=always /dev/shm");
        container.sh("dd if=/dev/zero of=/dev/shm/file bs=1M count=100");
        let full = resident(&container);
        assert!(
            full > before + WRITTEN * 9 / 10,
            "{before} KiB, then {full}"
        );
        container.sh("rm /dev/shm/file");
        wait_until("the memory", || {
            (resident(&container) < before + WRITTEN / 4).then_some(())
        });
    }
}

#[test]
fn update_takes_memory_from_a_running_guest_and_gives_it_back() {
    needs_microvm!();
    let host = Host::shared();
    let container = host.detached(["--network", "none", "busybox", "sleep", "1000000"]);
    let id = container.id.as_str();
    let rvm = |args: &[&str]| host.rvm(args.iter().copied()).wait().success();
    let limit = || container.sh("cat /sys/fs/cgroup/memory.max");
    let before = available(&container);
    // The guest keeps 64 of its 256 MiB beside the container's 176.
    rvm(&["pause", id]);
    rvm(&["update", "-m", "176m", id]);
    rvm(&["unpause", id]);
    wait_until("the balloon", || {
        (available(&container) < before - (12 << 10)).then_some(())
    });
    assert_eq!(limit(), (176 << 20).to_string());
    rvm(&["update", "-m", "256m", id]);
    assert_eq!(limit(), (256 << 20).to_string());
    wait_until("the memory", || {
        (available(&container) > before - (6 << 10)).then_some(())
    });
}

/// The VMM's share of the host's memory in KiB. The guest's is in it.
fn resident(container: &Container) -> u64 {
    let vmm = container.inspect()["State"]["Pid"].to_string();
    let path = format!("/proc/{vmm}/smaps_rollup");
    let text = fs::read_to_string(&path).expect(&path);
    field(&text, "Pss:")
}

/// Memory that the container could have, in KiB.
fn available(container: &Container) -> u64 {
    field(&container.sh("cat /proc/meminfo"), "MemAvailable:")
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}
