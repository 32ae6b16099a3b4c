//! `-t`: a terminal in the container, raw outside of it, and as it was when `rvm` is gone.

use rustix::process::Signal;

use crate::needs_container;
use crate::support::terminal::Terminal;
use crate::support::{Container, Host};

#[test]
fn a_terminal_is_the_containers_until_its_end() {
    needs_container!();
    let command =
        Host::shared().rvm_command(["run", "--rm", "-it", "--network", "none", "busybox", "sh"]);
    let mut terminal = Terminal::start(&command);
    let before = terminal.modes();
    assert!(!terminal.is_raw());
    terminal.wait_for("# ");
    assert!(terminal.is_raw(), "{}", terminal.modes());

    // The words that are waited for never stand in what is typed, which the container's terminal echoes.
    terminal.type_in("tty; echo $TERM; echo size-$(stty size)\n");
    terminal.wait_for("/dev/pts/0");
    terminal.wait_for("xterm");
    terminal.wait_for("size-24 80");
    terminal.resize(31, 101);
    terminal
        .type_in("while [ \"$(stty size)\" != '31 101' ]; do :; done; echo resized-$((40 + 2))\n");
    terminal.wait_for("resized-42");

    // Ctrl-C is for the container's terminal, which interrupts what runs on it. What is to be interrupted says itself
    // that it runs: between fork and exec a shell's child still has the shell's handler, which swallows the signal.
    terminal.type_in("sh -c 'echo begin-$((1 + 1)); exec tail -f /dev/null'\n");
    terminal.wait_for("begin-2");
    terminal.type_in("\x03");
    terminal.wait_for("^C");
    terminal.type_in(
        "exec sh -c \"trap 'exit 130' INT; echo trap-\\$((2 + 2)); while :; do :; done\"\n",
    );
    terminal.wait_for("trap-4");
    terminal.type_in("\x03");
    let end = terminal.wait();
    assert_eq!(end.code(), 130, "{}", terminal.screen.text());
    assert_eq!(terminal.modes(), before);
}

/// The ways out on which nobody says goodbye, each with a process on a terminal of its own in one container.
#[test]
fn a_terminal_is_restored_on_every_way_out() {
    needs_container!();
    let host = Host::shared();
    let container = host.detached(["--network", "none", "busybox", "tail", "-f", "/dev/null"]);
    let open = |args: &[&str]| {
        let mut terminal = Terminal::start(&host.rvm_command(args.iter().copied()));
        let before = terminal.modes();
        terminal.wait_for("# ");
        terminal.type_in("echo raw-$((5 + 5))\n");
        terminal.wait_for("raw-10");
        assert!(terminal.is_raw());
        (terminal, before)
    };
    let exec = ["exec", "-it", &container.id, "sh"];

    let (mut terminal, before) = open(&exec);
    terminal.type_in("exit 7\n");
    assert_eq!(terminal.wait().code(), 7);
    assert_eq!(terminal.modes(), before);

    // Signals that end the command.
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let (mut terminal, before) = open(&exec);
        terminal.process.signal(signal);
        terminal.wait();
        assert_eq!(terminal.modes(), before, "after {signal:?}");
    }

    // The container's end.
    let (mut terminal, before) = open(&exec);
    container.host.rvm(["kill", &container.id]).wait().success();
    assert_eq!(terminal.wait().code(), 137);
    assert_eq!(terminal.modes(), before);
}

#[test]
fn a_terminal_is_restored_when_run_is_ended_from_outside() {
    needs_container!();
    let host = Host::shared();
    let start = |name: &str| {
        let mut terminal = Terminal::start(&host.rvm_command([
            "run",
            "--name",
            name,
            "--sig-proxy=false",
            "-it",
            "--network",
            "none",
            "busybox",
            "sh",
        ]));
        let before = terminal.modes();
        terminal.wait_for("# ");
        assert!(terminal.is_raw());
        terminal.type_in("echo raw-$((5 + 5))\n");
        terminal.wait_for("raw-10");
        (terminal, before)
    };
    let (mut terminal, before) = start("ended-from-outside");
    let id = host.rvm(["ps", "-q", "--no-trunc"]).wait().success();
    assert!(!id.is_empty());
    let ids = host.rvm(["inspect", "ended-from-outside"]).wait().success();
    let inspected: serde_json::Value = serde_json::from_str(&ids).expect("JSON");
    let container = Container::started(
        host,
        format!("{}\n", inspected[0]["Id"].as_str().expect("an id")),
    );

    // With --sig-proxy=false the signal is for the command, which ends; the container goes on.
    terminal.process.signal(Signal::TERM);
    terminal.wait();
    assert_eq!(terminal.modes(), before);
    assert!(container.listed().contains("Up "), "{}", container.listed());
}
