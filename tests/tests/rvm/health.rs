//! Health checks: what they find is shown, told and acted upon by nobody but the user.

use serde_json::Value;

use crate::needs_container;
use crate::support::{Container, Host, wait_until};

fn wait_for(container: &Container<'_>, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, || {
        let health = container.inspect()["State"]["Health"].clone();
        is(&health).then_some(health)
    })
}

#[test]
fn a_containers_health_is_checked_shown_and_told() {
    needs_container!();
    let host = Host::shared();
    let check = "echo checked; test -f /slow && exec sleep 1234; test -f /well";
    let container = host.detached([
        "--health-cmd",
        check,
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
        "--health-timeout",
        "30s",
        "--network",
        "none",
        "busybox",
        "tail",
        "-f",
        "/dev/null",
    ]);
    let sick = wait_for(&container, "unhealthy", |health| {
        health["Status"] == "unhealthy"
    });
    assert!(sick["FailingStreak"].as_u64() >= Some(2), "{sick}");
    assert!(
        container.listed().contains("(unhealthy)"),
        "{}",
        container.listed()
    );
    container.sh("touch /well");
    let well = wait_for(&container, "healthy", |health| {
        health["Status"] == "healthy"
    });
    let last = well["Log"]
        .as_array()
        .and_then(|log| log.last())
        .expect("a check");
    assert_eq!(last["ExitCode"], 0);
    assert_eq!(last["Output"], "checked\n");
    assert!(
        container.listed().contains("(healthy)"),
        "{}",
        container.listed()
    );
    // One that takes too long is killed.
    container.sh("touch /slow");
    let late = wait_for(&container, "a check that takes too long", |health| {
        let log = health["Log"].as_array().expect("a log");
        log.iter().any(|check| check["ExitCode"] == -1)
    });
    assert!(late["Log"].as_array().expect("a log").len() <= 5);
    container.sh("rm /slow");
    let sleepers = container.sh("ps | grep 'sleep 123[4]' || true");
    assert!(sleepers.lines().count() <= 1, "{sleepers}");

    host.rvm(["kill", &container.id]).wait().success();
    let events = host.rvm([
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        &format!("container={}", container.id),
        "--filter",
        "event=health_status",
        "--format",
        "{{.Action}}",
    ]);
    let told = events.wait().success();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(
        told[..2],
        ["health_status: unhealthy", "health_status: healthy"]
    );
    let wrong = ["create", "--health-interval", "1us", "busybox"];
    host.rvm(wrong).wait().refused(125, &["1us", "1ms"]);
}
