//! What a container writes is there at its next start, is bounded, and goes with it.

use crate::needs_container;
use crate::support::{Container, Host};

#[test]
fn what_a_container_writes_outlives_its_ends_but_not_its_removal() {
    needs_container!();
    let host = Host::shared();
    let name = "writer";
    let script = "echo run >> /kept; wc -l < /kept; trap 'exit 3' TERM; tail -f /dev/null & wait";
    let rvm = |args: &[&str]| host.rvm(args.iter().copied()).wait();
    let created = rvm(&[
        "create",
        "--name",
        name,
        "--network",
        "none",
        "--storage-opt",
        "size=64m",
        "--label",
        "a=b",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let container = Container::started(host, created.success());
    assert_eq!(container.inspect()["State"]["Status"], "created");
    assert_eq!(container.inspect()["Config"]["Labels"]["a"], "b");
    assert_eq!(
        rvm(&["wait", name]).success(),
        "0\n",
        "there is nothing to wait for"
    );
    assert_eq!(rvm(&["start", name]).success(), "writer\n");
    assert_eq!(rvm(&["start", name]).success(), "writer\n", "it runs");
    container.wait_for("1\n");

    // A full disk is the container's alone.
    let full = container.try_sh("fallocate -l 100000000 /full");
    assert!(full.errors().contains("No space left on device"), "{full}");
    container.sh("rm -f /full; echo more > /more");

    // Killed, stopped and restarted it finds what it has written.
    assert_eq!(rvm(&["kill", name]).success(), "writer\n");
    assert!(
        container.listed().contains("Exited (137)"),
        "{}",
        container.listed()
    );
    rvm(&["rename", name, "renamed"]).success();
    rvm(&["start", name]).refused(1, &["No such container: writer"]);
    assert_eq!(rvm(&["start", "renamed"]).success(), "renamed\n");
    container.wait_for("2\n");
    assert_eq!(container.sh("cat /more"), "more");
    assert_eq!(
        rvm(&["restart", "-t", "60", "renamed"]).success(),
        "renamed\n"
    );
    container.wait_for("3\n");
    assert_eq!(container.inspect()["RestartCount"], 0);

    let folder = host.root().join("containers").join(&container.id);
    assert!(folder.join("disk.ext4").exists());
    rvm(&["rm", "renamed"]).refused(1, &["is running", "force"]);
    assert_eq!(rvm(&["rm", "-f", "renamed"]).success(), "renamed\n");
    assert!(!folder.exists());
    let missing = rvm(&["rm", "-f", "renamed"]);
    assert!(
        missing.errors().contains("No such container: renamed"),
        "{missing}"
    );
    assert_eq!(missing.code(), 0);
    let too_small = ["create", "--storage-opt", "size=1m", "busybox"];
    rvm(&too_small).refused(125, &["size="]);
}
