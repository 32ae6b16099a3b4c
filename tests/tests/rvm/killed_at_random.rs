//! `kill -9` of any process at any moment: no wrong state, no lost line, nothing left.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::needs_container;
use crate::support::snapshot::{Snapshot, processes};
use crate::support::{Host, enclosure, number, wait_until};

/// The longest time until the kill, in milliseconds, of a container that goes on from a template, and of one that boots: it runs by then,
/// on a machine that is not too busy.
const LATEST: [u64; 2] = [4_000, 20_000];

/// One container in so many boots.
const BOOTS: u64 = 10;

/// Numbers that look random and are the same again for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn find(host: &Host, words: &str) -> Option<Pid> {
    let (inner, _) = processes(host)
        .into_iter()
        .find(|(_, command)| command.contains(words))?;
    host.outer(inner)
}

#[test]
fn processes_killed_at_random_leave_no_wrong_state() {
    needs_container!();
    let host = Host::private();
    let before = Snapshot::after_a_run(&host, &[]);
    let seed = number("RVM_TEST_SEED", std::process::id() as usize) as u64 + 1;
    println!("RVM_TEST_SEED={}", seed - 1);
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for round in 0..number("RVM_TEST_KILLS", 3) {
        let victim = [" run -p ", "rvm-monitor", enclosure()][numbers.below(3) as usize];
        let boots = numbers.below(BOOTS) == 0;
        let moment = numbers.below(LATEST[usize::from(boots)]);
        println!("round {round}: {victim} after {moment} ms, boots: {boots}");
        round_of(&host, victim, boots, Duration::from_millis(moment));
        // The next template that is made removes them.
        let rest = "rm -rf \"$1\"/templates/.unfinished-*";
        let root = host.root();
        host.judge("sh", &["-c", rest, "rest", root.to_str().expect("UTF-8")]);
        before.assert_unchanged(&host);
    }
}

/// Starts a container that writes and writes, kills one of its processes at that moment, and sees what is told then.
fn round_of(host: &Host, victim: &str, boots: bool, moment: Duration) {
    let script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done";
    let mut command = vec!["run", "-p", "8080:80"];
    if boots {
        command.push("--no-template");
    }
    command.extend(["busybox", "sh", "-c", script]);
    let run = host.rvm(command);
    wait_until("the command", || find(host, " run -p "));
    // The random moment is what this test is about.
    std::thread::sleep(moment);
    let Some(pid) = wait_until("the process to kill, or the command's end", || {
        match find(host, victim) {
            Some(pid) => Some(Some(pid)),
            None => find(host, " run -p ").is_none().then_some(None),
        }
    }) else {
        panic!("the container ended by itself: {}", run.wait());
    };
    let _ = kill_process(pid, Signal::KILL);
    let seen = if victim == " run -p " {
        run.wait()
    } else {
        let end = run.wait();
        assert!(matches!(end.code(), 125 | 137), "{end}");
        end
    };
    let ids = host.rvm(["ps", "-aq", "--no-trunc"]).wait().success();
    for id in ids.lines() {
        let text = host.rvm(["inspect", id]).wait().success();
        let inspected: Value = serde_json::from_str(&text).expect("JSON");
        let state = &inspected[0]["State"];
        let status = state["Status"].as_str().expect("a status");
        if victim == " run -p " {
            assert!(["created", "running"].contains(&status), "{state}");
        } else {
            assert!(["created", "exited"].contains(&status), "{state}");
            let said = state["Error"].as_str().expect("a reason");
            assert!(!said.is_empty(), "{state}");
            wait_until("the end of what it was in", || {
                (find(host, enclosure()).is_none() || status == "created").then_some(())
            });
        }
        // What the command has shown is in the log.
        let logs = host.rvm(["logs", id]).wait().success();
        let lines = seen.text();
        let whole = lines.rfind('\n').map_or("", |end| &lines[..=end]);
        assert!(logs.starts_with(whole), "{whole}\nis not in\n{logs}");
        host.rvm(["rm", "-f", id]).wait().success();
    }
    assert_eq!(host.rvm(["ps", "-aq"]).wait().success(), "");
    wait_until("the end of all processes", || {
        (find(host, enclosure()).is_none() && find(host, "rvm-monitor").is_none()).then_some(())
    });
}
