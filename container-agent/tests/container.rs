//! What the agent promises the host, tried on this machine.

mod support;

use std::time::{Duration, Instant};

use rvm_agent_protocol::{
    Adopt, ExitStatus, FailureKind, File, Kind, Request, Response, WindowSize,
};
use support::Agent;

fn shell(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

#[test]
fn a_container_says_what_it_says_and_ends_as_it_ends() {
    let agent = Agent::start();
    let output = agent.output(agent.container("a", &shell("echo out; echo err >&2; exit 7")));
    assert_eq!(
        (output.text().as_str(), output.stderr.as_slice()),
        ("out\n", b"err\n".as_slice())
    );
    assert_eq!(output.status, Some(ExitStatus::Code(7)));
    let output = agent.output(agent.container(
        "a",
        &shell("echo $GREETING $$ $(pwd); ls -A /tmp; kill -9 $$; sleep 1; kill -9 1"),
    ));
    assert_eq!(output.text(), "hello 1 /\n");
    let left = agent.mounts();
    assert!(!left.contains("/run/rvm/a"), "{left}");
}

#[test]
fn a_held_process_becomes_another_containers() {
    let agent = Agent::start();
    let mut container = agent.container(
        "held",
        &shell("echo $0 $HOSTNAME $(hostname) $(cat /etc/hosts)"),
    );
    let process = container.spec.process_mut().as_mut().expect("a process");
    let mut environment = process.env().clone().unwrap_or_default();
    environment.push("HOSTNAME=nobody".to_owned());
    process.set_env(Some(environment));
    container.spec.set_hostname(Some("nobody".to_owned()));
    let given = |content: &str| File {
        name: "given".to_owned(),
        content: content.to_owned(),
    };
    container.bind(given("something long"), "/etc/hosts");
    container.hold = true;
    assert!(matches!(agent.create(container), Response::Created { .. }));
    let id = "held".to_owned();
    assert!(matches!(agent.ask(&Request::Hold { id }), Response::Ok));
    let adopt = |hostname: &str| {
        Request::Adopt(Box::new(Adopt {
            held: "held".to_owned(),
            id: "mine".to_owned(),
            hostname: Some(hostname.to_owned()),
            domainname: None,
            files: vec![given("short")],
            random: [7; 16],
        }))
    };
    let Response::Failed(failure) = agent.ask(&adopt("longer-name")) else {
        panic!("a host name of another length");
    };
    assert!(failure.message.contains("length"), "{failure}");
    assert!(matches!(agent.ask(&adopt("myself")), Response::Ok));
    let start = Request::Start {
        id: "mine".to_owned(),
        window: None,
    };
    let output = agent.stream(&start).expect("a stream").finish();
    assert_eq!(output.text(), "sh myself myself short\n");
    assert_eq!(output.status, Some(ExitStatus::Code(0)));
}

#[test]
fn standard_input_arrives_whole_however_slowly_it_is_read() {
    let agent = Agent::start();
    let mut create = agent.container("in", &shell("sleep 1; cat"));
    create.stdin = true;
    let mut host = agent.run(create).expect("a container");
    let data: Vec<u8> = (0..30_000_000_u32).map(|i| (i % 251) as u8).collect();
    let sent = data.clone();
    let mut writer = support::Host(host.0.try_clone().expect("a copy"));
    let sender = std::thread::spawn(move || {
        for chunk in sent.chunks(32 << 10) {
            writer.send(Kind::Stdin, chunk);
        }
        writer.send(Kind::StdinClosed, b"");
    });
    let mut received = Vec::new();
    while let Some((kind, payload)) = host.next() {
        match kind {
            Kind::Stdout => received.extend(payload),
            kind => assert_eq!(kind, Kind::Exited),
        }
    }
    sender.join().expect("sent");
    assert!(
        received == data,
        "{} of {} bytes",
        received.len(),
        data.len()
    );
}

#[test]
fn output_that_nobody_reads_stops_the_process_not_the_agent() {
    let agent = Agent::start();
    let mut host = agent
        .run(agent.container("out", &shell("head -c 5000000 /dev/zero; echo done >&2")))
        .expect("a container");
    std::thread::sleep(Duration::from_secs(1));
    assert!(matches!(
        agent.ask(&Request::Signal {
            id: "none".into(),
            signal: 1,
            all: false
        }),
        Response::Failed(_)
    ));
    let (kind, first) = host.next().expect("a frame");
    assert_eq!(kind, Kind::Stdout);
    let output = host.finish();
    assert_eq!(first.len() + output.stdout.len(), 5_000_000);
    assert_eq!(output.stderr, b"done\n");
    assert_eq!(output.status, Some(ExitStatus::Code(0)));
}

#[test]
fn a_command_that_is_missing_or_no_command_is_refused() {
    let agent = Agent::start();
    let kind = |command: &[&str], id: &str| {
        let failure = agent
            .run(agent.container(id, command))
            .err()
            .expect("a failure");
        let _ = agent.ask(&Request::Delete { id: id.into() });
        (failure.kind, failure.message)
    };
    let (found, message) = kind(&["foo"], "c1");
    assert_eq!(
        (found, message.as_str()),
        (
            FailureKind::CommandNotFound,
            "exec: \"foo\": executable file not found in $PATH"
        )
    );
    assert_eq!(kind(&["/nope/foo"], "c2").0, FailureKind::CommandNotFound);
    assert_eq!(kind(&["/etc"], "c3").0, FailureKind::CommandNotExecutable);
    assert_eq!(
        kind(&["/etc/plain"], "c4").0,
        FailureKind::CommandNotExecutable
    );
    let (found, message) = kind(&["noformat"], "c5");
    assert_eq!(
        (found, message.as_str()),
        (
            FailureKind::CommandNotExecutable,
            "exec /bin/noformat: exec format error"
        )
    );
    let left = agent.mounts();
    assert!(!left.contains("/run/rvm/c"), "{left}");
}

#[test]
fn the_user_brings_groups_and_home_and_the_working_folder_is_made() {
    let agent = Agent::start();
    let mut create = agent.container(
        "u",
        &shell("id; echo $HOME; pwd; echo through > /dev/stdout"),
    );
    create.user = "app".into();
    create
        .spec
        .process_mut()
        .as_mut()
        .expect("a process")
        .set_cwd("/srv/new/folder".into());
    let output = agent.output(create);
    let expected = "uid=1000(app) gid=1000(app) groups=29(audio),1000(app)\n/home/app\n/srv/new/folder\nthrough\n";
    assert_eq!(
        output.text(),
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut create = agent.container("u", &["id"]);
    create.user = "nobody".into();
    let failure = agent.run(create).err().expect("a failure");
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (
            FailureKind::UnknownUser,
            "unable to find user nobody: no matching entries in passwd file"
        )
    );
}

#[test]
fn a_container_has_its_own_view_of_the_kernel() {
    let agent = Agent::start();
    let script = "id -u; echo x > /proc/sys/kernel/hostname; echo x > /sys/kernel/uevent_helper; cat /proc/keys; \
        ls /sys/firmware | head -n 1; grep ^0: /proc/self/cgroup; mount | grep -c cgroup2; ls /dev | tr '\\n' ' '; \
        grep -E 'Cap(Bnd|Eff|Prm|Inh)' /proc/self/status; grep SigBlk /proc/self/status; ls /proc/self/fd | tr '\\n' ' '";
    let output = agent.output(agent.container("k", &shell(script)));
    let text = output.text();
    let capabilities = "00000000080000eb";
    let expected = format!(
        "0\n0::/\n1\nconsole core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero \
        CapInh:\t0000000000000000\nCapPrm:\t{capabilities}\nCapEff:\t{capabilities}\nCapBnd:\t{capabilities}\n\
        SigBlk:\t0000000000000000\n0 1 2 3 "
    );
    assert_eq!(
        text,
        expected.replace("console core ", ""),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut create = agent.container("r", &shell("echo x > /file; echo y > /tmp/file; echo $?"));
    let tmp = serde_json::json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]});
    create
        .spec
        .mounts_mut()
        .as_mut()
        .expect("mounts")
        .push(serde_json::from_value(tmp).expect("a mount"));
    create
        .spec
        .root_mut()
        .as_mut()
        .expect("a root")
        .set_readonly(Some(true));
    let output = agent.output(create);
    assert_eq!(output.text(), "0\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Read-only file system"));
}

#[test]
fn files_of_the_container_can_be_bound() {
    let agent = Agent::start();
    let mut create = agent.container("f", &["cat", "/etc/hosts"]);
    let hosts = File {
        name: "hosts".into(),
        content: "127.0.0.1 localhost\n".into(),
    };
    create.bind(hosts, "/etc/hosts");
    assert_eq!(agent.output(create).text(), "127.0.0.1 localhost\n");
}

#[test]
fn further_processes_join_the_container() {
    let agent = Agent::start();
    let host = agent
        .run(agent.container("x", &["sleep", "1000"]))
        .expect("a container");
    let exec = |command: &[&str]| agent.stream(&Request::Exec(agent.exec("x", command)));
    let output = exec(&shell(
        "echo $GREETING; kill -0 1 && echo neighbour; exit 3",
    ))
    .expect("a process")
    .finish();
    assert_eq!(
        (output.text().as_str(), output.status),
        ("hello\nneighbour\n", Some(ExitStatus::Code(3)))
    );
    assert_eq!(
        exec(&["foo"]).err().expect("a failure").kind,
        FailureKind::CommandNotFound
    );
    assert_eq!(
        exec(&["noformat"]).err().expect("a failure").kind,
        FailureKind::CommandNotExecutable
    );
    let begin = Instant::now();
    let output = exec(&shell("sleep 60 & echo left"))
        .expect("a process")
        .finish();
    assert_eq!(
        (output.text().as_str(), output.status),
        ("left\n", Some(ExitStatus::Code(0)))
    );
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    assert!(matches!(
        agent.ask(&Request::Signal {
            id: "x".into(),
            signal: 9,
            all: false
        }),
        Response::Ok
    ));
    assert_eq!(host.finish().status, Some(ExitStatus::Signal(9)));
    assert!(
        matches!(exec(&["true"]), Err(failure) if failure.kind == FailureKind::NoSuchContainer)
    );
}

#[test]
fn a_terminal_has_its_size_and_changes_it() {
    let agent = Agent::start();
    let mut create = agent.container(
        "t",
        &shell("tty; stty size; trap 'stty size; exit 4' WINCH; echo trap-set; while :; do sleep 0.1; done"),
    );
    create.stdin = true;
    create.user = "app".into();
    create
        .spec
        .process_mut()
        .as_mut()
        .expect("a process")
        .set_terminal(Some(true));
    assert!(matches!(agent.create(create), Response::Created { .. }));
    let window = Some(WindowSize {
        rows: 33,
        columns: 101,
    });
    let mut host = agent
        .stream(&Request::Start {
            id: "t".into(),
            window,
        })
        .expect("a stream");
    let text = host.wait_for("trap-set");
    assert!(text.contains("33 101"), "{text}");
    assert!(
        text.contains("/dev/pts/0") || text.contains("/dev/console"),
        "{text}"
    );
    let window = WindowSize {
        rows: 44,
        columns: 55,
    };
    assert!(matches!(
        agent.ask(&Request::Resize {
            id: "t".into(),
            window
        }),
        Response::Ok
    ));
    host.wait_for("44 55");
    assert_eq!(host.finish().status, Some(ExitStatus::Code(4)));

    let _sleeper = agent
        .run(agent.container("t2", &["sleep", "1000"]))
        .expect("a container");
    let mut exec = agent.exec("t2", &shell("read line; echo got $line; stty size"));
    exec.process.set_terminal(Some(true));
    exec.stdin = true;
    exec.window = Some(WindowSize {
        rows: 7,
        columns: 9,
    });
    let mut host = agent.stream(&Request::Exec(exec)).expect("a stream");
    host.send(Kind::Resize, br#"{"rows":8,"columns":10}"#);
    host.send(Kind::Stdin, b"word\r");
    let output = host.finish();
    assert!(
        output.text().contains("got word") && output.text().contains("8 10"),
        "{}",
        output.text()
    );
}

#[test]
fn a_lost_connection_ends_nothing() {
    let agent = Agent::start();
    let host = agent
        .run(agent.container("l", &["yes"]))
        .expect("a container");
    drop(host);
    std::thread::sleep(Duration::from_millis(300));
    let output = agent
        .stream(&Request::Exec(agent.exec("l", &["echo", "alive"])))
        .expect("a process")
        .finish();
    assert_eq!(output.text(), "alive\n");
    assert!(matches!(
        agent.ask(&Request::Delete { id: "l".into() }),
        Response::Ok
    ));
}

#[test]
fn a_malformed_frame_costs_only_its_connection() {
    use std::io::{Read, Write};
    let agent = Agent::start();
    let garbage: [&[u8]; 5] = [
        b"\xff\xff\xff\xff\x00",
        b"\x00\x00\x00\x00\x63",
        b"\x02\x00\x00\x00\x00{}",
        b"\x01\x00\x00\x00\x02x",
        b"\x00\x00\x00\x00\x07",
    ];
    for bytes in garbage {
        let mut host = agent.connect();
        host.0.write_all(bytes).expect("sent");
        let mut rest = Vec::new();
        assert!(
            matches!(host.0.read_to_end(&mut rest), Ok(0) | Err(_)),
            "{rest:?}"
        );
    }
    let mut half = agent.connect();
    half.0.write_all(b"\x10\x00").expect("sent");
    drop(half);
    assert_eq!(
        agent
            .output(agent.container("m", &["echo", "still"]))
            .text(),
        "still\n"
    );
}

#[test]
fn shutdown_ends_everything_after_the_answer() {
    let agent = Agent::start();
    let host = agent
        .run(agent.container("s", &["sleep", "1000"]))
        .expect("a container");
    assert!(matches!(agent.ask(&Request::Shutdown), Response::Ok));
    drop(host);
    assert!(agent.wait());
}
