//! `kill -9` of each process in turn: the next command finds and says the truth, and nothing is left.

use rustix::process::{Pid, Signal, kill_process};

use crate::needs_microvm;
use crate::support::snapshot::{Snapshot, processes};
use crate::support::{Container, Host, Process, wait_until};

/// A process of the private host, as this process sees it, by what its command line has in it.
fn find(host: &Host, words: &str) -> Option<Pid> {
    let (inner, _) = processes(host)
        .into_iter()
        .find(|(_, command)| command.contains(words))?;
    host.outer(inner)
}

fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).expect("kill -9");
}

fn monitor(host: &Host) -> Pid {
    wait_until("a monitor", || find(host, " monitor "))
}

fn vmm(host: &Host) -> Pid {
    wait_until("a VMM", || find(host, "rvm-vmm"))
}

/// A host on which a container has run.
fn used_host() -> (Host, Snapshot) {
    let host = Host::private();
    host.rvm(["run", "--rm", "busybox", "true"])
        .wait()
        .success();
    let before = Snapshot::of(&host);
    (host, before)
}

fn only_container<'a>(host: &'a Host) -> Container<'a> {
    Container::started(host, host.rvm(["ps", "-q", "--no-trunc"]).wait().success())
}

#[test]
fn a_killed_command_leaves_its_container_and_a_killed_monitor_ends_it() {
    needs_microvm!();
    let (host, before) = used_host();
    let run = [
        "run",
        "-p",
        "8080:80",
        "busybox",
        "sh",
        "-c",
        "echo ready; tail -f /dev/null",
    ];
    let run = host.rvm(run);
    run.wait_for("ready");
    let container = only_container(&host);
    // The command is the child of the program that has brought it into the host's namespaces.
    let command = find(&host, " run -p ").expect("the command");
    kill(command);
    run.wait();
    assert!(container.listed().contains("Up "), "{}", container.listed());
    assert_eq!(container.sh("echo goes on"), "goes on");

    let vmm = vmm(&host);
    kill(monitor(&host));
    assert!(
        container.listed().contains("Exited (137)"),
        "{}",
        container.listed()
    );
    gone(vmm);
    container.host.rvm(["logs", &container.id]).wait().success();
    host.rvm(["rm", &container.id]).wait().success();
    before.assert_unchanged(&host);
}

#[test]
fn a_killed_vmm_is_the_end_of_its_container() {
    needs_microvm!();
    let (host, before) = used_host();
    let run = host.rvm([
        "run",
        "-p",
        "8080:80",
        "busybox",
        "sh",
        "-c",
        "echo ready; tail -f /dev/null",
    ]);
    run.wait_for("ready");
    let container = only_container(&host);
    kill(vmm(&host));
    let end = run.wait();
    assert_eq!(end.code(), 137, "{end}");
    assert!(
        end.errors().starts_with("rvm: ") && end.errors().lines().count() == 1,
        "{end}"
    );
    assert!(
        container.listed().contains("Exited (137)"),
        "{}",
        container.listed()
    );
    host.rvm(["rm", &container.id]).wait().success();
    before.assert_unchanged(&host);
}

/// While the guest boots, which is the longest part of a start.
#[test]
fn a_start_that_is_cut_short_leaves_nothing() {
    needs_microvm!();
    let (host, before) = used_host();
    let start = || host.rvm(["run", "--rm", "-p", "8080:80", "busybox", "true"]);
    let end: &[fn(&Host, Process)] = &[
        |host, run| {
            kill(vmm(host));
            run.wait().refused(125, &[]);
        },
        |host, run| {
            let vmm = vmm(host);
            kill(monitor(host));
            run.wait().refused(125, &["monitor"]);
            gone(vmm);
        },
        |host, run| {
            let _ = vmm(host);
            let id = host.rvm(["ps", "-aq"]).wait().success();
            host.rvm(["rm", "-f", id.trim()]).wait().success();
            assert_eq!(run.wait().code(), 137);
        },
    ];
    for end in end {
        end(&host, start());
        assert_eq!(host.rvm(["ps", "-aq"]).wait().success(), "");
        before.assert_unchanged(&host);
    }
}

/// Waits until a process is no more.
fn gone(pid: Pid) {
    wait_until("the VMM's end", || {
        rustix::process::test_kill_process(pid)
            .is_err()
            .then_some(())
    });
}
