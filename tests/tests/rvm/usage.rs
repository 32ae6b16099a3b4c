//! What containers do and use is shown as with Docker.

use crate::needs_container;
use crate::support::terminal::Terminal;
use crate::support::{Host, in_microvms, wait_until};

#[test]
fn processes_ports_and_what_a_container_uses_are_shown() {
    needs_container!();
    let host = &Host::empty().load(&["busybox"]);
    let rvm = |args: &[&str]| host.rvm(args.to_vec()).wait();
    let script = "tail -f /dev/null & echo ready; while :; do :; done";
    let container = host.detached([
        "--name",
        "busy",
        "-m",
        "128m",
        "-p",
        "127.0.0.1::80",
        "-p",
        "127.0.0.1::53/udp",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    container.wait_for("ready");

    // The shell's child is still the shell for a while.
    let top = wait_until("tail in the list", || {
        let top = rvm(&["top", "busy"]).success();
        let there = top.lines().any(|line| line.ends_with(" tail -f /dev/null"));
        there.then_some(top)
    });
    let rows: Vec<Vec<&str>> = top
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    );
    let shell = rows.iter().find(|row| row[7..].starts_with(&["sh", "-c"]));
    let shell = shell.expect(&top);
    let tail = rows
        .iter()
        .find(|row| row[7..] == ["tail", "-f", "/dev/null"]);
    let tail = tail.expect(&top);
    assert_eq!(
        (rows.len(), shell[0], tail[2]),
        (3, "root", shell[1]),
        "{top}"
    );
    let own = rvm(&["top", "busy", "-o", "pid,args=WHAT"]).success();
    assert!(own.starts_with("PID       WHAT\n"), "{own}");
    rvm(&["container", "top", "busy", "aux"]).success();
    rvm(&["top", "busy", "-o", "shoesize"]).refused(1, &["'shoesize'", "not known"]);

    let format = "{{.HostPort}}";
    let port = |port: &str| {
        let format = format!(
            "{{{{with index .NetworkSettings.Ports \"{port}\"}}}}{{{{with index . 0}}}}{format}{{{{end}}}}{{{{end}}}}"
        );
        rvm(&["inspect", "-f", &format, "busy"])
            .success()
            .trim()
            .to_owned()
    };
    let (tcp, udp) = (port("80/tcp"), port("53/udp"));
    assert_eq!(
        rvm(&["port", "busy"]).success(),
        format!("53/udp -> 127.0.0.1:{udp}\n80/tcp -> 127.0.0.1:{tcp}\n")
    );
    assert_eq!(
        rvm(&["port", "busy", "80"]).success(),
        format!("127.0.0.1:{tcp}\n")
    );
    rvm(&["port", "busy", "53"]).refused(1, &["No public port '53/tcp' published for busy"]);

    let stats = rvm(&["stats", "--no-stream"]).success();
    let heading = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O ";
    assert!(stats.starts_with(heading), "{stats}");
    let format = "{{.Name}} {{.PIDs}} {{.CPUPerc}} {{.MemUsage}} {{.GuestMem}} {{.VMOverhead}}";
    // A sample that takes too long says nothing.
    let line = wait_until("a measured container", || {
        let line = rvm(&["stats", "--no-stream", "--format", format, "busy"]).success();
        let cpu = line.split_whitespace().nth(2)?.trim_end_matches('%');
        let cpu: f64 = cpu.parse().ok()?;
        (cpu > 1.0 && cpu < 200.0).then_some(line)
    });
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        [words[0], words[1], words[4], words[5]],
        ["busy", "2", "/", "128MiB"]
    );
    // All that the monitor and the VMM, or the sandbox's agent, take is the guest's memory or the virtual machine's own.
    let first = container.inspect()["State"]["Pid"].to_string();
    let of = if in_microvms() {
        first
    } else {
        parent(host, &first)
    };
    let script = format!(
        "awk '/^Pss:/ {{ sum += $2 }} END {{ print sum }}' /proc/{of}/smaps_rollup /proc/{}/smaps_rollup",
        parent(host, &of)
    );
    let total: f64 = host
        .judge("sh", &["-c", &script])
        .trim()
        .parse()
        .expect("kB");
    let sum = mebibytes(words[6]) + mebibytes(words[7]);
    let ratio = sum * 1024.0 / total;
    assert!((0.5..2.0).contains(&ratio), "{line} against {total} kB");

    // On a terminal it goes on, each time over the last one.
    let mut screen = Terminal::start(&host.rvm_command(["stats", "busy"]));
    screen.wait_for_times("\x1b[HCONTAINER ID", 2);
    screen.process.signal(rustix::process::Signal::INT);
    screen.wait();

    rvm(&["stop", "-t", "0", "busy"]).success();
    rvm(&["top", "busy"]).refused(1, &[&container.id, "is not running"]);
    assert_eq!(rvm(&["port", "busy"]).success(), "");
    let format = [
        "stats",
        "-a",
        "--no-stream",
        "--format",
        "{{.Name}} {{.CPUPerc}}",
    ];
    assert_eq!(rvm(&format).success(), "busy 0.00%\n");
    rvm(&["stats", "nobody"]).refused(1, &["No such container: nobody"]);

    let info = [
        "info",
        "-f",
        "{{.Containers}} {{.ContainersStopped}} {{.Images}} {{.OSType}}",
    ];
    assert_eq!(rvm(&info).success(), "1 1 1 linux\n");
    let version = rvm(&[
        "version",
        "--format",
        "{{.Client.Version}}={{.Server.Version}}",
    ]);
    let version = version.success();
    let (client, server) = version.trim().split_once('=').expect("versions");
    assert!(client == server && rvm(&["--version"]).success().contains(client));
}

/// A process's parent.
fn parent(host: &Host, process: &str) -> String {
    let parent = host.judge("ps", &["-o", "ppid=", "-p", process]);
    parent.trim().to_owned()
}

/// A size such as `11.9MiB`.
fn mebibytes(text: &str) -> f64 {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = number.parse().expect(text);
    match text.trim_start_matches(|c: char| !c.is_ascii_alphabetic()) {
        "KiB" => number / 1024.0,
        "MiB" => number,
        _ if text == "0B" => 0.0,
        _ => panic!("{text}"),
    }
}
