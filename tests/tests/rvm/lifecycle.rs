//! Containers in the background: listed, logged, stopped, killed and removed, with Docker's words.

use crate::needs_container;
use crate::support::Host;

#[test]
fn a_background_container_is_listed_logged_stopped_and_removed() {
    needs_container!();
    let host = Host::shared();
    let name = "lifecycle";
    let script =
        "trap 'echo last words; exit 9' TERM; echo one; echo two >&2; tail -f /dev/null & wait";
    let container = host.detached([
        "--name",
        name,
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    container.wait_for("one\n");
    let rvm = |args: &[&str]| host.rvm(args.iter().copied()).wait();

    let list = rvm(&["ps"]).success();
    assert!(list.starts_with("CONTAINER ID"), "{list}");
    let line = list
        .lines()
        .find(|line| line.starts_with(&container.id[..12]))
        .expect(&list);
    for word in ["busybox", "Up ", name] {
        assert!(line.contains(word), "no {word}: {line}");
    }
    assert!(
        rvm(&["ps", "-q", "--no-trunc"])
            .success()
            .contains(&container.id)
    );
    assert_eq!(rvm(&["exec", name, "echo", "beside"]).success(), "beside\n");
    assert_eq!(
        rvm(&["exec", &container.id[..12], "sh", "-c", "exit 3"]).code(),
        3
    );
    let shown = container.follow();
    assert!(shown.stderr.wait_until(|said| said.ends_with(b"two\n")));
    drop(shown);
    let logs = rvm(&["logs", name]);
    assert_eq!(
        (logs.text().as_str(), logs.errors().as_str()),
        ("one\n", "two\n")
    );

    // Its name is its own, and it is not removed while it runs.
    let words = [
        "Conflict.",
        "/lifecycle",
        "is already in use by container",
        &container.id,
    ];
    rvm(&["run", "--name", name, "busybox", "true"]).refused(125, &words);
    rvm(&["rm", name]).refused(1, &["is running", "force"]);

    let mut follow = container.follow();
    assert_eq!(rvm(&["stop", "-t", "60", name]).success(), "lifecycle\n");
    assert_eq!(follow.wait_exit().text(), "one\nlast words\n");
    assert!(
        !rvm(&["ps", "-q", "--no-trunc"])
            .success()
            .contains(&container.id)
    );
    assert!(
        container.listed().contains("Exited (9)"),
        "{}",
        container.listed()
    );
    assert_eq!(rvm(&["wait", name]).success(), "9\n");
    assert_eq!(rvm(&["logs", name]).text(), "one\nlast words\n");
    rvm(&["exec", name, "true"]).refused(1, &["is not running"]);
    rvm(&["kill", name]).refused(1, &["is not running"]);
    assert_eq!(
        rvm(&["stop", name]).success(),
        "lifecycle\n",
        "stopping twice does nothing"
    );
    assert_eq!(rvm(&["rm", name]).success(), "lifecycle\n");
    for command in ["rm", "stop", "kill", "logs", "wait"] {
        rvm(&[command, name]).refused(1, &["No such container: lifecycle"]);
    }
}

#[test]
fn a_container_that_ignores_its_stop_signal_is_killed() {
    needs_container!();
    let host = Host::shared();
    let script = "trap '' TERM; trap 'echo a signal' USR1; echo ready; tail -f /dev/null & while :; do wait; done";
    let container = host.detached(["--network", "none", "busybox", "sh", "-c", script]);
    container.wait_for("ready");
    host.rvm(["kill", "-s", "USR1", &container.id])
        .wait()
        .success();
    container.wait_for("a signal");
    host.rvm(["stop", "-t", "1", &container.id])
        .wait()
        .success();
    assert!(
        container.listed().contains("Exited (137)"),
        "{}",
        container.listed()
    );
}
