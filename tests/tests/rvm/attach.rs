//! `attach`, and leaving a container that goes on: Ctrl-P Ctrl-Q.

use crate::needs_container;
use crate::support::terminal::Terminal;
use crate::support::{Container, Host, wait_until};

#[test]
fn a_terminal_can_be_left_and_taken_up_again() {
    needs_container!();
    let host = Host::shared();
    let open = |args: &[&str]| Terminal::start(&host.rvm_command(args.iter().copied()));
    let mut first = open(&[
        "run",
        "-it",
        "--name",
        "left",
        "--network",
        "none",
        "busybox",
        "sh",
    ]);
    let before = first.modes();
    first.wait_for("# ");
    first.type_in("echo first-$((1 + 1))\n");
    first.wait_for("first-2");
    // A lone Ctrl-P is the container's, and with the next key it is there.
    first.type_in("echo kept-$((2 + 2))\x10");
    first.type_in("\x10\x11");
    assert_eq!(first.wait().code(), 0, "{}", first.screen.text());
    assert_eq!(first.modes(), before);
    let id = host
        .rvm(["ps", "-q", "--no-trunc", "--filter", "name=left"])
        .wait()
        .success();
    let container = Container::started(host, id);

    // Two take part: both see, and one leaves by keys of its own.
    let mut second = open(&["attach", "--detach-keys", "ctrl-a,x", "left"]);
    // What is typed before is for the terminal itself.
    wait_until("a raw terminal", || second.is_raw().then_some(()));
    second.type_in("\x03");
    let watching = open(&["attach", "--no-stdin", "left"]);
    wait_until("the watcher", || {
        second.type_in("echo seen-$((1 + 1))\n");
        watching.screen.text().contains("seen-2").then_some(())
    });
    second.type_in(
        "until [ \"$(stty size)\" = '24 80' ]; do :; done; stty size; echo again-$((3 + 3))\n",
    );
    second.wait_for("24 80");
    second.wait_for("again-6");
    watching.wait_for("again-6");
    second.resize(31, 101);
    second
        .type_in("while [ \"$(stty size)\" != '31 101' ]; do :; done; echo resized-$((40 + 2))\n");
    second.wait_for("resized-42");
    second.type_in("\x01x");
    second.wait_for("read escape sequence");
    assert_eq!(second.wait().code(), 1);

    // A further process is left as well, and goes on; one in the background is left from the beginning.
    let mut exec = open(&["exec", "-it", "left", "sh"]);
    exec.wait_for("# ");
    exec.type_in("exec tail -f /dev/null\n\x10\x11");
    assert_eq!(exec.wait().code(), 1);
    let detached = host.rvm(["exec", "-d", "left", "tail", "-f", "/etc/hostname"]);
    assert_eq!(detached.wait().success(), "");
    wait_until("the two processes", || {
        let list = container.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
        (list.contains("tail -f /dev/null") && list.contains("tail -f /etc/hostname")).then_some(())
    });
    let all = host.rvm([
        "exec",
        "--privileged",
        "left",
        "sed",
        "-n",
        "s/^CapEff:\\t//p",
        "/proc/self/status",
    ]);
    let expected = crate::support::all_capabilities();
    assert_eq!(all.wait().success().trim(), expected);

    // Their ends are told, though nobody waits for them.
    let quick = host.rvm(["exec", "-d", "left", "sh", "-c", "exit 9"]);
    quick.wait().success();
    container.sh("killall tail");
    let told = |event: &str, format: &str| {
        let filter = format!("event={event}");
        let format = ["--format", format, "--filter", "container=left", "--filter"];
        let words = ["events", "--since", "1h", "--until", "0s"];
        let events = host.rvm(words.into_iter().chain(format).chain([&*filter]));
        events.wait().success()
    };
    wait_until("the ends of three processes", || {
        let codes = told("exec_die", "{{.Actor.Attributes.exitCode}}");
        let count = |wanted: &str| codes.lines().filter(|code| *code == wanted).count();
        (count("9") == 1 && count("143") == 2).then_some(())
    });
    assert_eq!(told("exec_detach", "{{.Action}}"), "exec_detach\n");

    // The end is told to whoever is there.
    let mut last = open(&["attach", "left"]);
    wait_until("a raw terminal", || last.is_raw().then_some(()));
    last.type_in("exit 5\n");
    assert_eq!(last.wait().code(), 5, "{}", last.screen.text());
    host.rvm(["attach", "--no-stdin", "left"])
        .wait()
        .refused(1, &["cannot attach to a stopped container"]);
    // Its state is looked at before the input, which is no terminal here.
    host.rvm(["attach", "left"])
        .wait()
        .refused(1, &["cannot attach to a stopped container"]);
    host.rvm(["attach", "--detach-keys", "nope,", "left"])
        .wait()
        .refused(1, &["invalid detach keys"]);
}
