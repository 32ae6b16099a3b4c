//! Containers whose limits were changed, and that come back after a restart of the host.

use rustix::process::{Pid, Signal, kill_process};

use crate::needs_container;
use crate::support::{Host, in_microvms, limit, wait_until};

#[test]
fn a_changed_container_comes_back_after_a_restart_of_the_host() {
    needs_container!();
    // What comes back and what is stopped is everything below a root folder.
    let host = Host::empty().load(&["busybox"]);
    let host = &host;
    let rvm = |args: &[&str]| host.rvm(args.iter().copied()).wait();
    let args = ["--network", "none", "busybox", "tail", "-f", "/dev/null"];
    let container = host.detached(args);
    let id = container.id.as_str();
    let limits = ["memory.max", "cpu.max", "pids.max"].map(limit).join(";");
    let limits = limits.as_str();
    rvm(&["update", id]).refused(1, &["one or more flags"]);
    // A guest has what it has; a control group can be given more.
    if in_microvms() {
        rvm(&["update", "-m", "300m", id]).refused(1, &["256 MiB", "300 MiB", "stop it first"]);
        rvm(&["update", "--cpus", "2", id]).refused(1, &["1 CPUs", "stop it first"]);
    } else {
        rvm(&["update", "-m", "300m", "--cpus", "2", id]).success();
        assert!(
            container
                .sh(limits)
                .starts_with("314572800\n200000 100000\n")
        );
    }
    let changed = rvm(&[
        "update",
        "-m",
        "128m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "30",
        "--restart",
        "always",
        id,
    ]);
    assert_eq!(changed.success(), format!("{id}\n"));
    assert_eq!(container.sh(limits), "134217728\n50000 100000\n30");
    let policy = &container.inspect()["HostConfig"]["RestartPolicy"];
    assert_eq!(policy["Name"], "always");

    // What the host's end looks like to the next start of the system: nothing runs, and the database says it does.
    let lock = host.root().join("containers").join(id).join("lock");
    let monitor = std::fs::read_to_string(lock).expect("the monitor's id");
    let monitor = Pid::from_raw(monitor.trim().parse().expect("a number")).expect("an id");
    kill_process(monitor, Signal::KILL).expect("kill -9");
    wait_until("the end", || {
        (container.inspect()["State"]["Status"] == "exited").then_some(())
    });
    assert_eq!(container.inspect()["State"]["ExitCode"], 137);
    rvm(&["boot"]).success();
    assert!(container.listed().contains("Up "), "{}", container.listed());
    assert_eq!(container.sh(limits), "134217728\n50000 100000\n30");
    // Before the host goes.
    rvm(&["boot", "--stop"]).success();
    let state = container.inspect();
    assert_eq!(state["State"]["Status"], "exited");
}

#[test]
fn the_unit_that_brings_containers_back_is_one_that_systemd_takes() {
    let host = Host::private();
    host.judge("mkdir", &["-p", "/etc/systemd/system"]);
    let units = ["-t", "tmpfs", "tmpfs", "/etc/systemd/system"];
    host.judge("mount", &units);
    let unit = host.rvm(["system", "enable-boot"]).wait().success();
    let unit = unit.trim();
    let text = host.judge("cat", &[unit]);
    for line in ["Type=oneshot", "WantedBy=multi-user.target", " boot\n"] {
        assert!(text.contains(line), "no {line:?}: {text}");
    }
    let name = unit.rsplit('/').next().expect("a name");
    let wants = format!("/etc/systemd/system/multi-user.target.wants/{name}");
    assert_eq!(host.judge("readlink", &[&wants]).trim(), unit);
    // The line that systemd runs is one that this program understands.
    let start = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .expect("a program");
    host.judge("bash", &["-c", start]);
    host.rvm(["system", "disable-boot"]).wait().success();
    assert_eq!(
        host.judge("find", &["/etc/systemd/system", "-type", "f,l"]),
        ""
    );
    host.rvm(["system", "disable-boot"])
        .wait()
        .refused(1, &["no unit"]);
}
