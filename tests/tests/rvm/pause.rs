//! Paused containers stand still, and go on where they were.

use crate::needs_container;
use crate::support::{Host, seconds};

#[test]
fn a_paused_container_stands_still_and_its_clock_is_right_afterwards() {
    needs_container!();
    let host = Host::shared();
    let script = "trap 'echo a signal' USR1; while :; do echo tick; sleep 0.2 & wait $!; done";
    let container = host.detached(["--network", "none", "busybox", "sh", "-c", script]);
    let rvm = |args: &[&str]| host.rvm(args.iter().copied()).wait();
    let id = container.id.as_str();
    let since = seconds();
    container.wait_for("tick");
    assert_eq!(rvm(&["pause", id]).success(), format!("{id}\n"));
    assert!(
        container.listed().contains("(Paused)"),
        "{}",
        container.listed()
    );
    let written = rvm(&["logs", id]).text();
    rvm(&["pause", id]).refused(1, &["is already paused"]);
    rvm(&["exec", id, "true"]).refused(1, &["is paused, unpause the container before exec"]);
    rvm(&["start", id]).refused(1, &["cannot start a paused container, try unpause instead"]);
    rvm(&["rm", id]).refused(1, &["is paused and must be unpaused first"]);
    rvm(&["kill", "-s", "USR1", id]).success();
    assert_eq!(rvm(&["logs", id]).text(), written, "nothing of it has run");
    assert_eq!(rvm(&["unpause", id]).success(), format!("{id}\n"));
    container.wait_for("a signal");
    rvm(&["unpause", id]).refused(1, &["is not paused"]);
    let (before, inside, after) = (seconds(), container.sh("date +%s"), seconds());
    let inside: u64 = inside.parse().expect("seconds");
    assert!(
        (before..=after).contains(&inside),
        "{before} {inside} {after}"
    );

    // What is paused can be stopped all the same.
    rvm(&["pause", id]).success();
    rvm(&["kill", id]).success();
    assert!(
        container.listed().contains("Exited (137)"),
        "{}",
        container.listed()
    );
    rvm(&["pause", id]).refused(1, &["is not running"]);

    // All of that was told, in its order.
    let (since, filter) = (since.to_string(), format!("container={id}"));
    let until = (seconds() + 1).to_string();
    let events = [
        "events", "--since", &since, "--until", &until, "-f", &filter,
    ];
    let format = [
        "--format",
        "{{.Action}}{{with .Actor.Attributes.signal}} {{.}}{{end}}",
    ];
    let told = rvm(&[&events[..], &format[..]].concat()).success();
    let expected = [
        "pause", "kill 10", "unpause", "pause", "kill 9", "unpause", "die",
    ];
    let told: Vec<&str> = told
        .lines()
        .skip_while(|action| *action != "pause")
        .filter(|action| !action.starts_with("exec_"))
        .collect();
    assert_eq!(told, expected);
}
