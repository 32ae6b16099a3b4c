//! Checkpoints: a container goes on where it was, as often as somebody likes.

use crate::needs_microvm;
use crate::support::{Container, Host, seconds};

/// Counts the words that come to it, in memory alone, and the lines that it has printed.
const COUNTS: &str = "mkfifo /words; echo mine > /written; echo ready; n=0; \
    while :; do read -r word < /words && n=$((n + 1)) && echo \"$n $word\"; done";

#[test]
fn a_container_goes_on_from_a_checkpoint() {
    needs_microvm!();
    // Nobody else takes its network and address while the container has ended.
    let host = Host::private();
    let container = host.detached(["--name", "saved", "busybox", "sh", "-c", COUNTS]);
    let rvm = |args: &[&str]| host.rvm(args.iter().copied()).wait();
    let say = |word: &str, answer: &str| {
        container.sh(&format!("echo {word} > /words"));
        container.wait_for(answer);
    };
    container.wait_for("ready");
    say("one", "1 one");

    // It ends with the checkpoint.
    let address = container.address();
    let made = rvm(&["checkpoint", "create", "saved", "first"]);
    assert_eq!(made.success(), "first\n");
    assert!(
        container.listed().contains("Exited (137)"),
        "{}",
        container.listed()
    );
    assert_eq!(names(&container), ["first"]);
    let stopped = rvm(&["checkpoint", "create", "saved", "second"]);
    stopped.refused(1, &["is not running"]);
    rvm(&["start", "--checkpoint", "none", "saved"])
        .refused(1, &["checkpoint none does not exist for container"]);

    // What came after a checkpoint is unknown to whoever goes on from it; what came before is there, on the disk, too.
    for word in ["two", "else"] {
        let started = rvm(&["start", "--checkpoint", "first", "saved"]);
        assert_eq!(started.success(), "saved\n");
        assert_eq!(container.address(), address);
        say(word, &format!("2 {word}"));
        let look = format!(
            "test ! -e /gone && touch /gone && ping -c 1 -W 60 {} >&2 && cat /written && date +%s",
            container.inspect()["NetworkSettings"]["Gateway"]
        );
        let (before, inside, after) = (seconds(), container.sh(&look), seconds());
        let (written, time) = inside.split_once('\n').expect("two lines");
        let time: u64 = time.parse().expect("seconds");
        assert_eq!(written, "mine");
        assert!((before..=after).contains(&time), "{before} {time} {after}");
        rvm(&["kill", "saved"]).success();
    }

    // It may go on beside its checkpoint.
    rvm(&["start", "--checkpoint", "first", "saved"]).success();
    say("three", "2 three");
    let kept = ["checkpoint", "create", "--leave-running", "saved", "second"];
    assert_eq!(rvm(&kept).success(), "second\n");
    rvm(&kept).refused(1, &["checkpoint with name second already exists"]);
    say("four", "3 four");
    rvm(&["pause", "saved"]).success();
    rvm(&["checkpoint", "create", "saved", "third"]).refused(1, &["is paused"]);
    rvm(&["unpause", "saved"]).success();
    say("five", "4 five");
    assert_eq!(names(&container), ["first", "second"]);
    rvm(&["checkpoint", "rm", "saved", "first"]).success();
    rvm(&["checkpoint", "rm", "saved", "first"]).refused(1, &["does not exist"]);
    assert_eq!(names(&container), ["second"]);
}

fn names(container: &Container<'_>) -> Vec<String> {
    let list = container.host.rvm(["checkpoint", "ls", "saved"]);
    let list = list.wait().success();
    let mut lines = list.lines().map(str::to_owned);
    assert_eq!(lines.next().as_deref(), Some("CHECKPOINT NAME"));
    lines.collect()
}
