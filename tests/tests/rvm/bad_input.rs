//! What can't be done gets one sentence and Docker's exit code, and leaves nothing behind.

use std::fs;

use crate::needs_container;
use crate::support::Host;
use crate::support::snapshot::Snapshot;

const VM: &str = "--isolation=vm";
const CONTAINER: &str = "--isolation=container";

/// A private host that has run a container, so that what is made once is there.
fn used_host() -> (Host, Snapshot) {
    let host = Host::private();
    host.rvm(["run", "--rm", "busybox", "true"])
        .wait()
        .success();
    let before = Snapshot::of(&host);
    (host, before)
}

#[test]
fn wrong_requests_are_refused_and_leave_nothing() {
    needs_container!();
    let (host, before) = used_host();
    let text = host.folder().join("not-a-kernel");
    fs::write(
        &text,
        "#!/bin/sh\necho this is not a kernel, however long it is\n",
    )
    .expect("file");
    // A program in the kernel's format.
    let program = host.folder().join("program");
    fs::copy("/bin/true", &program).expect("copy");
    let before = Snapshot {
        files: Snapshot::of(&host).files,
        ..before
    };
    let (text, program) = (
        text.to_str().expect("UTF-8").to_owned(),
        program.to_str().expect("UTF-8").to_owned(),
    );
    let cases: &[(&[&str], &[&str])] = &[
        (&["--pull", "never", "no-such-image"], &["no-such-image"]),
        (&["Not/A/Reference"], &["Not/A/Reference"]),
        (&["-m", "1m", "busybox", "true"], &["Minimum memory"]),
        (&[VM, "-m", "1000g", "busybox", "true"], &["MiB", "host"]),
        (&["-m", "much", "busybox", "true"], &["much"]),
        (&["--cpus", "0", "busybox", "true"], &["cpus"]),
        (&["--cpus", "1000", "busybox", "true"], &["cpus"]),
        (&["-p", "80:80:80:80", "busybox", "true"], &["80"]),
        (&["-p", "99999:80", "busybox", "true"], &["99999"]),
        (
            &["-p", "192.0.2.77:8080:80", "busybox", "true"],
            &["192.0.2.77"],
        ),
        (
            &["-w", "relative", "busybox", "true"],
            &["relative", "absolute"],
        ),
        (&["--name", "-bad/name", "busybox", "true"], &["name"]),
        (
            &["--hostname", "bad/host", "busybox", "true"],
            &["bad/host"],
        ),
        (
            &["--env-file", "/no/such/file", "busybox", "true"],
            &["/no/such/file"],
        ),
        (
            &["--no-such-option", "busybox", "true"],
            &["--no-such-option"],
        ),
        (&["--entrypoint", "", "busybox"], &["no command"]),
        (
            &[VM, "--kernel", &text, "busybox", "true"],
            &["is not a kernel"],
        ),
        (&[VM, "--kernel", &program, "busybox", "true"], &["kernel"]),
        (
            &[VM, "--kernel", "/no/such/kernel", "busybox", "true"],
            &["/no/such/kernel"],
        ),
        (
            &["--isolation", "none", "busybox", "true"],
            &["isolation", "none"],
        ),
        (&[CONTAINER, "-m", "1m", "busybox"], &["Minimum memory"]),
        (
            &[CONTAINER, "--kernel", &text, "busybox"],
            &["the kernel is the host's"],
        ),
        (
            &[CONTAINER, "--sysctl", "kernel.panic=1", "busybox"],
            &["kernel.panic", "separate kernel namespace"],
        ),
        (&[], &["image"]),
    ];
    for (args, words) in cases {
        let args = ["run", "--rm"].into_iter().chain(args.iter().copied());
        host.rvm(args.collect::<Vec<_>>())
            .wait()
            .refused(125, words);
    }
    before.assert_unchanged(&host);

    // A port on which the host itself listens.
    let listens = "import socket; s = socket.create_server(('', 8080)); print('listens', flush=True); input()";
    let listener = host.start("python3", &["-c", listens]);
    listener.wait_for("listens");
    let words = ["0.0.0.0:8080", "port is already allocated"];
    host.rvm(["run", "--rm", "-p", "8080:80", "busybox", "true"])
        .wait()
        .refused(125, &words);
    assert_eq!(listener.wait_with(b"\n").code(), 0);
    before.assert_unchanged(&host);

    // Only the guest can tell that there is no such user.
    host.rvm(["run", "--rm", "-u", "no-such-user", "busybox", "true"])
        .wait()
        .refused(125, &["no-such-user"]);
    before.assert_unchanged(&host);
}

#[test]
fn without_kvm_one_sentence_says_what_to_do() {
    let host = Host::private();
    host.rvm(["ps"]).wait().success();
    host.judge("mount", &["-t", "tmpfs", "tmpfs", "/dev"]);
    for (name, minor) in [("null", "3"), ("zero", "5"), ("urandom", "9")] {
        host.judge("mknod", &[&format!("/dev/{name}"), "c", "1", minor]);
    }
    let before = Snapshot::of(&host);
    host.rvm(["run", "--rm", VM, "busybox", "true"])
        .wait()
        .refused(125, &["no /dev/kvm", "kvm_intel", "kvm_amd"]);
    before.assert_unchanged(&host);
    let run = [
        "run",
        "--rm",
        CONTAINER,
        "busybox",
        "echo",
        "shares the kernel",
    ];
    let run = host.rvm(run).wait();
    assert_eq!(run.success(), "shares the kernel\n");
    // What needs no virtual machine works all the same.
    assert!(host.rvm(["images"]).wait().success().contains("busybox"));
    assert!(host.rvm(["info"]).wait().success().contains("no /dev/kvm"));
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let host = Host::with_disk("700k");
    host.rvm(["ps"]).wait().success();
    let archive = crate::support::archive("busybox");
    let archive = archive.to_str().expect("UTF-8");
    let before = Snapshot::of(&host);
    host.rvm(["load", "-q", "-i", archive])
        .wait()
        .refused(1, &["No space left on device"]);
    before.assert_unchanged(&host);

    needs_container!();
    host.judge(
        "mount",
        &[
            "-o",
            "remount,size=64m",
            "tmpfs",
            host.root().to_str().expect("UTF-8"),
        ],
    );
    host.rvm(["load", "-q", "-i", archive]).wait().success();
    host.rvm(["run", "--rm", "busybox", "true"])
        .wait()
        .success();
    let filler = host.root().join("filler");
    let fill = format!("cat /dev/zero > {} 2>/dev/null; true", filler.display());
    host.judge("sh", &["-c", &fill]);
    let before = Snapshot::of(&host);
    host.rvm(["run", "--rm", "busybox", "true"])
        .wait()
        .refused(125, &[]);
    before.assert_unchanged(&host);
    // With room again everything goes on.
    host.judge("rm", &[filler.to_str().expect("UTF-8")]);
    host.rvm(["run", "--rm", "busybox", "true"])
        .wait()
        .success();
}
