//! `rvm run` with its options: what the process in the container sees of each.

use std::fs;

use crate::needs_container;
use crate::support::{Host, in_microvms, limit};

#[test]
fn a_commands_output_and_exit_code_are_the_containers() {
    needs_container!();
    let script = "echo to stdout; echo to stderr >&2; exit 42";
    let end = Host::shared()
        .rvm([
            "run",
            "--rm",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            script,
        ])
        .wait();
    assert_eq!(end.code(), 42, "{end}");
    assert_eq!(end.text(), "to stdout\n");
    assert_eq!(end.errors(), "to stderr\n");
}

#[test]
fn a_command_that_does_not_exist_is_127() {
    needs_container!();
    let end = Host::shared()
        .rvm([
            "run",
            "--rm",
            "--network",
            "none",
            "busybox",
            "no-such-command",
        ])
        .wait();
    end.refused(127, &["no-such-command"]);
}

#[test]
fn a_command_that_cannot_run_is_126() {
    needs_container!();
    let end = Host::shared()
        .rvm(["run", "--rm", "--network", "none", "busybox", "/etc/passwd"])
        .wait();
    end.refused(126, &["/etc/passwd"]);
}

/// The options that concern the process itself, in one container.
#[test]
fn options_take_effect() {
    needs_container!();
    let host = Host::shared();
    let file = host.folder().join("tmp/options.env");
    fs::write(
        &file,
        "# a comment\nFROM_FILE=of file\nBOTH=of file\nRVM_TEST_GIVEN\n\nNOT_SET_ANYWHERE\n",
    )
    .expect("file");
    let script = "env; echo; pwd; ls -d /made/by/option; id -u; id -g; id -G; hostname; nproc; sed -n 's/MemTotal: *//p' /proc/meminfo; echo $0; ".to_owned() + &limit("memory.max");
    let options = [
        ["--image", "busybox"],
        ["-e", "ONE=of option with spaces"],
        ["--env", "BOTH=of option"],
        ["-e", "RVM_TEST_HOST"],
        ["--env-file", file.to_str().expect("UTF-8")],
        ["-w", "/made/by/option"],
        ["-u", "operator:staff"],
        ["--hostname", "box.example"],
        ["--cpus", "2"],
        ["-m", "512m"],
        ["--entrypoint", "/bin/sh"],
        ["--network", "none"],
    ];
    let options = options.as_flattened().iter().copied();
    let mut command = host.rvm_command(["run", "--rm"].into_iter().chain(options).chain([
        // The option -c is another way to say --cpu-shares.
        "--",
        "-c",
        &script,
        "arguments",
    ]));
    command
        .env("RVM_TEST_HOST", "of host")
        .env("RVM_TEST_GIVEN", "given");
    let output = crate::support::Process::start(command).wait().success();
    let (env, rest) = output.split_once("\n\n").expect("two parts");
    for expected in [
        "ONE=of option with spaces",
        "FROM_FILE=of file",
        "BOTH=of option",
        "RVM_TEST_HOST=of host",
        "RVM_TEST_GIVEN=given",
        "HOSTNAME=box.example",
    ] {
        assert!(
            env.lines().any(|line| line == expected),
            "no {expected} in:\n{env}"
        );
    }
    assert!(
        env.contains("PATH=/") && !env.contains("NOT_SET_ANYWHERE"),
        "{env}"
    );
    let lines: Vec<_> = rest.lines().collect();
    // User 37 by its name, with the group that was asked for.
    assert_eq!(
        lines[..7],
        [
            "/made/by/option",
            "/made/by/option",
            "37",
            "50",
            "50",
            "box.example",
            "2"
        ],
        "{rest}"
    );
    if in_microvms() {
        let memory: u64 = lines[7].trim_end_matches(" kB").parse().expect("a number");
        assert!(
            (440 << 10..=512 << 10).contains(&memory),
            "512 MiB asked for, {memory} KiB seen"
        );
    } else {
        assert_eq!(lines[9].parse(), Ok(512 << 20), "{rest}");
    }
    assert_eq!(lines[8], "arguments");
}

#[test]
fn a_read_only_container_has_only_its_tmpfs_to_write_to() {
    needs_container!();
    let script = "touch /file /etc/file /root/file; echo x > /dev/shm/file && cat /dev/shm/file; echo y > /etc/hosts";
    let run = [
        "run",
        "--rm",
        "--read-only",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let end = Host::shared().rvm(run).wait();
    assert_eq!(end.text(), "x\n", "{end}");
    assert_eq!(
        end.errors().matches("Read-only file system").count(),
        3,
        "{end}"
    );
}
