//! Logs are rotated, read, followed and cut to size as with Docker.

use std::io::{Read, Write};
use std::process::Stdio;

use crate::needs_container;
use crate::support::Host;

#[test]
fn a_log_that_is_rotated_is_followed_to_its_end_and_holds_nobody_up() {
    needs_container!();
    let host = Host::shared();
    let script =
        "read go; i=0; while [ $i -lt 600 ]; do i=$((i+1)); echo $i $PAD; done; echo end >&2";
    let pad = format!("PAD={}", "x".repeat(300));
    let mut run = host.rvm([
        "run",
        "-i",
        "--name",
        "rotated",
        "--network",
        "none",
        "-e",
        &pad,
        "-e",
        "PART=a b",
        "--log-opt",
        "max-size=10k",
        "--log-opt",
        "max-file=100",
        "--log-opt",
        "env=PART",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let rvm = |args: &[&str]| host.rvm(args.to_vec()).wait();
    let id = crate::support::wait_until("the container", || {
        let id = rvm(&["ps", "-q", "--no-trunc", "-f", "name=^rotated$"]).success();
        (!id.is_empty()).then(|| id.trim().to_owned())
    });
    let follow = host.rvm(["logs", "-f", "rotated"]);
    // A reader that reads one line and then no more, with more to come than a pipe holds.
    let mut command = host.rvm_command(["logs", "-f", "rotated"]);
    let mut stalled = command.stdout(Stdio::piped()).spawn().expect("rvm");
    let mut unread = stalled.stdout.take().expect("piped");
    let stdin = run.stdin.as_mut().expect("piped");
    stdin.write_all(b"go\n").expect("stdin");
    unread.read_exact(&mut [0; 8]).expect("a beginning");
    run.wait().success();
    assert!(
        stalled.try_wait().expect("wait").is_none(),
        "it has not read all"
    );
    stalled.kill().expect("kill");
    stalled.wait().expect("wait");

    let followed = follow.wait().success();
    let numbers = |text: &str| -> Vec<usize> {
        let numbers = text
            .lines()
            .map(|line| line.split(' ').next().expect("a number"));
        numbers
            .map(|number| number.parse().expect("a number"))
            .collect()
    };
    let all: Vec<usize> = (1..=600).collect();
    assert_eq!(numbers(&followed), all);
    let logs = rvm(&["logs", "rotated"]);
    assert_eq!(numbers(&logs.text()), all);
    assert_eq!(logs.errors(), "end\n");
    // What lies on the disk is Docker's format, in files of the size that was asked for.
    let folder = host.root().join("containers").join(&id);
    let files = std::fs::read_dir(&folder).expect("folder").flatten();
    let sizes: Vec<u64> = files
        .filter(|file| {
            file.file_name()
                .to_string_lossy()
                .starts_with("container-json.log")
        })
        .map(|file| file.metadata().expect("file").len())
        .collect();
    assert!(
        sizes.len() > 20 && sizes.iter().all(|size| *size < 11 << 10),
        "{sizes:?}"
    );
    let newest = folder.join("container-json.log");
    let newest = newest.to_str().expect("UTF-8");
    let last = host.judge(
        "jq",
        &["-s", "-r", "last | .stream + .log + .attrs.PART", newest],
    );
    assert_eq!(last, "stderrend\na b\n");

    let tail = rvm(&["logs", "-n", "50", "rotated"]);
    assert_eq!(numbers(&tail.text()), all[551..]);
    let details = rvm(&["logs", "--details", "--tail=1", "rotated"]);
    assert_eq!(details.errors(), "PART=a+b end\n");
    let stamped = rvm(&["logs", "-t", "rotated"]).success();
    let time = stamped
        .lines()
        .nth(299)
        .and_then(|line| line.split(' ').next());
    let time = time.expect("a time");
    let since = rvm(&["logs", "--since", time, "rotated"]).success();
    let until = rvm(&["logs", "--until", time, "rotated"]).success();
    assert!(numbers(&since).contains(&300) && numbers(&since).ends_with(&[600]));
    assert!(numbers(&until).contains(&300) && numbers(&until).starts_with(&[1]));
    assert!(numbers(&since).len() + numbers(&until).len() >= 601);
    assert_eq!(
        rvm(&["logs", "--since", "10h", "rotated"]).text(),
        logs.text()
    );
    assert_eq!(rvm(&["logs", "--until", "10h", "rotated"]).text(), "");
    rvm(&["logs", "--since", "soon", "rotated"]).refused(1, &["`soon` is no point in time"]);
    rvm(&["logs", "--tail", "few", "rotated"]).refused(1, &["invalid number of lines 'few'"]);
    rvm(&["rm", "rotated"]).success();
}

#[test]
fn a_container_without_a_log_shows_its_output_to_those_who_are_there() {
    needs_container!();
    let host = Host::shared();
    let rvm = |args: &[&str]| host.rvm(args.to_vec()).wait();
    let run = [
        "run",
        "--name",
        "unlogged",
        "--network",
        "none",
        "--log-driver",
        "none",
    ];
    let output = rvm(&[&run[..], &["busybox", "echo", "shown"]].concat()).success();
    assert_eq!(output, "shown\n");
    rvm(&["logs", "unlogged"]).refused(1, &["configured logging driver does not support reading"]);
    let format = "{{.HostConfig.LogConfig.Type}} {{.LogPath}}";
    assert_eq!(
        rvm(&["inspect", "-f", format, "unlogged"]).success(),
        "none \n"
    );
    rvm(&["rm", "unlogged"]).success();
}

#[test]
fn options_of_logs_are_checked_before_anything_is_made() {
    let host = Host::shared();
    for (options, words) in [
        (
            &["--log-driver", "syslog"][..],
            "no log driver named 'syslog'",
        ),
        (
            &["--log-opt", "colour=red"],
            "unknown log opt 'colour' for json-file",
        ),
        (
            &["--log-opt", "max-size=big"],
            "invalid value for log opt 'max-size': big",
        ),
        (
            &["--log-opt", "max-file=0", "--log-opt", "max-size=1m"],
            "'max-file': 0",
        ),
        (&["--log-opt", "max-file=2"], "needs 'max-size'"),
        (
            &["--log-driver", "none", "--log-opt", "max-size=1m"],
            "for none log driver",
        ),
    ] {
        let args = [&["run"], options, &["busybox", "true"]].concat();
        host.rvm(args).wait().refused(125, &[words]);
    }
}
