//! Restart policies, and what stands in their way.

use crate::needs_container;
use crate::support::{Host, wait_until};

#[test]
fn a_failing_container_is_started_again_so_many_times() {
    needs_container!();
    let host = Host::shared();
    let container = host.detached([
        "--restart",
        "on-failure:1",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo again; exit 4",
    ]);
    let ended = wait_until("the last end", || {
        let state = container.inspect();
        (state["State"]["Status"] == "exited").then_some(state)
    });
    assert_eq!(ended["State"]["ExitCode"], 4);
    assert_eq!(ended["RestartCount"], 1);
    let logs = host.rvm(["logs", &container.id]).wait();
    assert_eq!(logs.text(), "again\nagain\n");
    let both = ["run", "--rm", "--restart", "always", "busybox"];
    host.rvm(both).wait().refused(125, &["--restart and --rm"]);
    let bad = ["create", "--restart", "sometimes", "busybox"];
    host.rvm(bad).wait().refused(125, &["sometimes"]);
}

#[test]
fn a_container_that_always_restarts_can_be_stopped_and_removed_at_any_time() {
    needs_container!();
    let host = Host::shared();
    let container = host.detached([
        "--restart",
        "always",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "exit 0",
    ]);
    wait_until("a restart", || {
        (container.inspect()["RestartCount"] != 0).then_some(())
    });
    host.rvm(["stop", "-t", "60", &container.id])
        .wait()
        .success();
    assert_eq!(container.inspect()["State"]["Status"], "exited");
    // It would have restarted before anybody could look.
    let policy = |policy| {
        let update = ["update", "--restart", policy, &container.id];
        host.rvm(update).wait().success();
    };
    policy("no");
    host.rvm(["start", &container.id]).wait().success();
    assert_eq!(container.inspect()["RestartCount"], 0);
    host.rvm(["wait", &container.id]).wait().success();
    policy("always");
    host.rvm(["start", &container.id]).wait().success();
    host.rvm(["rm", "-f", &container.id]).wait().success();
    assert_eq!(container.listed(), "");
}
