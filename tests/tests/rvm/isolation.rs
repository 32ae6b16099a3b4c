//! Containers without a microVM: what is the host's and what is their own, and who makes them.

use std::fs;

use crate::needs_container;
use crate::support::Host;

/// With the words in front that every run here has.
fn run(host: &Host, words: &[&str]) -> crate::support::Outcome {
    let run = ["run", "--rm", "--isolation", "container"];
    host.rvm(run.iter().chain(words).copied()).wait()
}

#[test]
fn a_container_has_the_hosts_kernel_and_nothing_else_of_the_host() {
    needs_container!();
    let host = Host::private();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let names = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
    let kinds = ["mnt", "pid", "ipc", "uts", "net", "cgroup"];
    let script = format!(
        "uname -r; ls /proc | grep -c '^[0-9]'; ls /sys/class/net; for kind in {}; do readlink /proc/self/ns/$kind; done",
        kinds.join(" ")
    );
    let before = host.judge("hostname", &[]);
    let end = run(&host, &["--network=none", "busybox", "sh", "-c", &script]);
    let text = end.success();
    let lines: Vec<&str> = text.lines().collect();
    // The shell, and what counts.
    assert_eq!(lines[0], kernel.trim());
    assert!(lines[1].parse::<u32>().expect("a number") <= 3, "{text}");
    assert_eq!(lines[2], "lo", "{text}");
    for (kind, seen) in kinds.into_iter().zip(&lines[3..]) {
        assert_ne!(*seen, names(kind).to_str().expect("UTF-8"), "{kind}");
    }
    assert_eq!(host.judge("hostname", &[]), before);
    // A device of the host's can be made, but not read.
    let script = "mknod /disk b 7 0 && head -c 1 /disk";
    let end = run(&host, &["--network=none", "busybox", "sh", "-c", script]);
    assert!(end.errors().contains("Operation not permitted"), "{end}");
}

#[test]
fn a_container_that_takes_too_much_is_killed_and_says_so() {
    needs_container!();
    let host = Host::empty().load(&["busybox"]);
    let create = [
        "create",
        "--isolation=container",
        "-m",
        "16m",
        "--network=none",
        "busybox",
    ];
    let command = ["sh", "-c", "exec tail /dev/zero"];
    let id = host.rvm(create.into_iter().chain(command)).wait().success();
    let container = crate::support::Container::started(&host, id);
    let end = host.rvm(["start", "-a", &container.id]).wait();
    assert_eq!(end.code(), 137, "{end}");
    assert_eq!(container.inspect()["State"]["OOMKilled"], true);
}

#[test]
fn an_installed_oci_runtime_makes_and_runs_the_container() {
    needs_container!();
    let host = Host::shared();
    let words = ["--runtime", "no-such-runtime", "busybox", "true"];
    run(host, &words).refused(125, &["unknown or invalid runtime name: no-such-runtime"]);
    let vm = [
        "run",
        "--rm",
        "--isolation=vm",
        "--runtime=crun",
        "busybox",
        "true",
    ];
    host.rvm(vm).wait().refused(125, &["--isolation container"]);
    let installed = |name: &&str| std::path::Path::new("/usr/bin").join(name).exists();
    let Some(runtime) = ["crun", "runc"].into_iter().find(installed) else {
        eprintln!(
            "SKIPPED {}: neither crun nor runc is installed",
            module_path!()
        );
        return;
    };
    let own = [
        "--runtime",
        runtime,
        "--network=none",
        "-h",
        "named",
        "busybox",
    ];
    let with = |command: &[&str]| run(host, &[&own, command].concat());
    let script = "hostname; sed -n 's/^Seccomp:\\t//p' /proc/self/status; cat; exit 3";
    let end = with(&["sh", "-c", script]);
    assert_eq!(
        (end.code(), end.text().as_str()),
        (3, "named\n2\n"),
        "{end}"
    );
    with(&["no-such-command"]).refused(127, &["no-such-command"]);
    with(&["/etc/passwd"]).refused(126, &["/etc/passwd"]);

    let start = [
        "--isolation=container",
        "--runtime",
        runtime,
        "busybox",
        "sh",
        "-c",
    ];
    let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let container = host.detached(start.into_iter().chain([script]));
    container.wait_for("ready");
    assert_eq!(container.sh("echo $((6 * 7))"), "42");
    let path = container.inspect()["HostConfig"]["Runtime"].to_string();
    assert!(path.contains(runtime), "{path}");
    host.rvm(["pause", &container.id]).wait().success();
    host.rvm(["unpause", &container.id]).wait().success();
    host.rvm(["stop", "-t", "60", &container.id])
        .wait()
        .success();
    assert_eq!(container.inspect()["State"]["ExitCode"], 5);
}
