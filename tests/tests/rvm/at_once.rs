//! Commands and containers at once: what comes of them could have come one after the other.

use crate::needs_container;
use crate::support::snapshot::{Snapshot, processes};
use crate::support::{Container, Host, Process, enclosure, number, wait_until};

/// Twenty commands, of all kinds that change a container's state.
const COMMANDS: [&[&str]; 20] = [
    &["start"],
    &["stop", "-t", "1"],
    &["start"],
    &["kill"],
    &["pause"],
    &["unpause"],
    &["restart", "-t", "1"],
    &["start"],
    &["kill", "-s", "USR1"],
    &["update", "--restart", "no"],
    &["stop", "-t", "0"],
    &["pause"],
    &["start"],
    &["unpause"],
    &["inspect"],
    &["update", "--pids-limit", "100"],
    &["start"],
    &["stop"],
    &["wait"],
    &["start"],
];

fn count(host: &Host, words: &str) -> usize {
    let list = processes(host).into_iter();
    list.filter(|(_, command)| command.contains(words)).count()
}

#[test]
fn twenty_commands_on_one_container_leave_a_state_that_one_order_could_have_made() {
    needs_container!();
    let host = Host::private();
    let before = Snapshot::after_a_run(&host, &[]);
    let script = "trap '' USR1; trap 'exit 3' TERM; tail -f /dev/null & wait";
    let create = ["create", "-p", "8080:80", "busybox", "sh", "-c", script];
    let container = Container::started(&host, host.rvm(create).wait().success());
    let id = container.id.as_str();
    let running: Vec<Process> = COMMANDS
        .iter()
        .map(|command| host.rvm(command.iter().copied().chain([id])))
        .collect();
    // `wait` may wait for an end that nobody brings any more: it is looked after last.
    let (waits, others): (Vec<_>, Vec<_>) = running
        .into_iter()
        .zip(COMMANDS)
        .partition(|(_, command)| command[0] == "wait");
    for (process, command) in others {
        let end = process.wait();
        // Refused for the state that another one has made, or carried out: never broken.
        let refused = [
            "is not running",
            "is not paused",
            "is already paused",
            "is paused",
            "paused container",
            "killed while it started",
        ];
        let known = refused.iter().any(|words| end.errors().contains(words));
        assert!(
            end.code() == 0 || (end.code() == 1 && known),
            "{command:?}: {end}"
        );
    }
    let state = container.inspect()["State"].clone();
    let up = match state["Status"].as_str() {
        Some("running" | "paused") => 1,
        Some("exited" | "created") => 0,
        _ => panic!("{state}"),
    };
    wait_until("one monitor and one VMM or agent of what is up", || {
        (count(&host, "rvm-monitor") == up && count(&host, enclosure()) == up).then_some(())
    });
    host.rvm(["rm", "-f", id]).wait().success();
    for (process, _) in waits {
        process.wait();
    }
    drop(container);
    wait_until("the monitors' end", || {
        (count(&host, "rvm-monitor") == 0).then_some(())
    });
    // What is kept for the next start may have come: a template of the guest with its new limits.
    let now = Snapshot {
        files: before.files.clone(),
        ..Snapshot::of(&host)
    };
    assert_eq!(now, before);
}

#[test]
fn containers_at_once_all_run_and_leave_nothing() {
    needs_container!();
    let host = Host::private();
    let before = Snapshot::after_a_run(&host, &["-m", "128m"]);
    let starts: Vec<Process> = (0..number("RVM_TEST_CONTAINERS", 4))
        .map(|n| {
            let script = format!("echo mine is {n} > /own; tail -f /dev/null");
            host.rvm(["run", "-d", "-m", "128m", "busybox", "sh", "-c", &script])
        })
        .collect();
    let containers: Vec<Container> = starts
        .into_iter()
        .map(|start| Container::started(&host, start.wait().success()))
        .collect();
    let mut addresses: Vec<String> = containers.iter().map(Container::address).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(
        addresses.len(),
        containers.len(),
        "each has an address of its own"
    );
    for (n, container) in containers.iter().enumerate() {
        let own = "until test -s /own; do sleep 0.1; done; cat /own";
        assert_eq!(container.sh(own), format!("mine is {n}"));
    }
    let ids = containers.iter().map(|container| container.id.as_str());
    host.rvm(["rm", "-f"].into_iter().chain(ids))
        .wait()
        .success();
    drop(containers);
    wait_until("the monitors' end", || {
        (count(&host, "rvm-monitor") == 0).then_some(())
    });
    before.assert_unchanged(&host);
}
