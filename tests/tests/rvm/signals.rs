//! Signals to a `rvm run` in the foreground: they are the process's.

use rustix::process::Signal;

use crate::needs_container;
use crate::support::Host;

#[test]
fn signals_reach_the_process_and_its_exit_code_comes_back() {
    needs_container!();
    let script =
        "trap 'echo hang-up' HUP; trap 'echo interrupt' INT; trap 'echo terminate; exit 143' TERM
        tail -f /dev/null & echo ready; while :; do wait; done";
    let run = Host::shared().rvm([
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    run.wait_for("ready\n");
    for (signal, word) in [
        (Signal::HUP, "hang-up\n"),
        (Signal::INT, "interrupt\n"),
        (Signal::TERM, "terminate\n"),
    ] {
        run.signal(signal);
        run.wait_for(word);
    }
    let end = run.wait();
    assert_eq!(end.code(), 143, "{end}");
    assert_eq!(end.errors(), "");
}
