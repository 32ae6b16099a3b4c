//! `kill -9` of each process in turn: the next command finds and says the truth, and nothing is left.

use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::support::snapshot::{Snapshot, processes};
use crate::support::{Container, Host, Process, wait_until};
use crate::{needs_container, support};

/// A process of the private host, as this process sees it, by what its command line has in it.
fn find(host: &Host, words: &str) -> Option<Pid> {
    let (inner, _) = processes(host)
        .into_iter()
        .find(|(_, command)| command.contains(words))?;
    host.outer(inner)
}

/// Kills a process, and waits for its end: until then it holds what it held.
fn kill(pid: Pid) {
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("pidfd");
    pidfd_send_signal(&process, Signal::KILL).expect("kill -9");
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], None);
    assert_eq!(ended.expect("poll"), 1);
}

fn monitor(host: &Host) -> Pid {
    wait_until("a monitor", || find(host, "rvm-monitor"))
}

/// The process that a container is in.
fn enclosure(host: &Host) -> Pid {
    wait_until("a VMM or an agent", || find(host, support::enclosure()))
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
    needs_container!();
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

    let enclosure = enclosure(&host);
    kill(monitor(&host));
    assert!(
        container.listed().contains("Exited (137)"),
        "{}",
        container.listed()
    );
    gone(enclosure);
    container.host.rvm(["logs", &container.id]).wait().success();
    host.rvm(["rm", &container.id]).wait().success();
    before.assert_unchanged(&host);
}

#[test]
fn a_killed_vmm_or_agent_is_the_end_of_its_container() {
    needs_container!();
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
    kill(enclosure(&host));
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

/// A folder with the installed files in it, but an agent that does not get ready before it is killed.
fn slow_agent(host: &Host) -> String {
    let folder = host.folder().join("slow");
    let library = support::rvm().with_file_name("../lib/rvm");
    std::fs::create_dir(&folder).expect("folder");
    for entry in std::fs::read_dir(&library)
        .expect("the installed files")
        .flatten()
    {
        symlink(entry.path(), folder.join(entry.file_name())).expect("link");
    }
    let agent = folder.join("rvm-agent");
    std::fs::remove_file(&agent).expect("the link");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --sandbox ] && sleep 1000\nexec {}/rvm-agent \"$@\"\n",
        library.display()
    );
    std::fs::write(&agent, script).expect("script");
    std::fs::set_permissions(&agent, PermissionsExt::from_mode(0o755)).expect("mode");
    folder.to_str().expect("UTF-8").to_owned()
}

/// While the guest boots, which is the longest part of a start, or before a sandbox's agent is there.
#[test]
fn a_start_that_is_cut_short_leaves_nothing() {
    needs_container!();
    let (host, before) = used_host();
    let libexec = (!support::in_microvms()).then(|| slow_agent(&host));
    let before = Snapshot {
        files: Snapshot::of(&host).files,
        ..before
    };
    let start = || {
        let options = ["run", "--rm", "--no-template", "-p", "8080:80"];
        let mut run = host.rvm_command(options.into_iter().chain(["busybox", "true"]));
        if let Some(libexec) = &libexec {
            run.env("RVM_LIBEXEC", libexec);
        }
        Process::start(run)
    };
    let end: &[fn(&Host, Process)] = &[
        |host, run| {
            kill(enclosure(host));
            run.wait().refused(125, &[]);
        },
        |host, run| {
            let enclosure = enclosure(host);
            kill(monitor(host));
            run.wait().refused(125, &["monitor"]);
            gone(enclosure);
        },
        |host, run| {
            let _ = enclosure(host);
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
    wait_until("the end of the VMM or the agent", || {
        rustix::process::test_kill_process(pid)
            .is_err()
            .then_some(())
    });
}
