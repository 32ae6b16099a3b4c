//! Every field of an image's configuration takes effect.

use crate::needs_container;
use crate::support::Host;
use crate::support::image::Layout;

#[test]
fn entry_point_command_environment_folder_user_and_stop_signal_are_the_images() {
    needs_container!();
    let host = Host::shared();
    let script = "trap 'echo stopped by USR1; exit 21' USR1; echo $0; echo $GREETING $PATH; pwd; ls -ld . | cut -c 1-10; id -u; id -g; id -G; echo ready; tail -f /dev/null & while :; do wait; done";
    let layout = Layout::of_busybox(host, "configured").configure(&[
        "--clear=config.entrypoint",
        "--config.entrypoint=/bin/sh",
        "--config.entrypoint=-c",
        &format!("--config.entrypoint={script}"),
        "--clear=config.cmd",
        "--config.cmd=the command",
        "--config.env=GREETING=hello from the image",
        "--config.workingdir=/srv/made/for it",
        "--config.user=operator",
        "--config.stopsignal=SIGUSR1",
        "--config.exposedports=8080/tcp",
    ]);
    host.rvm(["load", "-q", "-i", layout.path()])
        .wait()
        .success();
    let container = host.detached(["--network", "none", "configured"]);
    container.wait_for("ready");
    let logs = host.rvm(["logs", &container.id]).wait().success();
    let lines: Vec<_> = logs.lines().collect();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let greeting = format!("hello from the image {path}");
    assert_eq!(
        lines,
        [
            "the command",
            &greeting,
            "/srv/made/for it",
            "drwxr-xr-x",
            "37",
            "37",
            "37",
            "ready"
        ]
    );
    assert!(
        container.listed().contains("8080/tcp"),
        "{}",
        container.listed()
    );
    // exec has the image's environment, folder and user as well.
    assert_eq!(
        container.sh("echo $GREETING; pwd; id -un"),
        "hello from the image\n/srv/made/for it\noperator"
    );
    host.rvm(["stop", "-t", "60", &container.id])
        .wait()
        .success();
    assert!(
        container.listed().contains("Exited (21)"),
        "{}",
        container.listed()
    );
    assert!(
        host.rvm(["logs", &container.id])
            .wait()
            .success()
            .contains("stopped by USR1")
    );
}

#[test]
fn an_unknown_user_in_the_image_is_refused() {
    needs_container!();
    let host = Host::private();
    let layout = Layout::of_busybox(&host, "stranger").configure(&["--config.user=stranger:users"]);
    host.rvm(["load", "-q", "-i", layout.path()])
        .wait()
        .success();
    host.rvm(["run", "--rm", "busybox", "true"])
        .wait()
        .success();
    let before = crate::support::snapshot::Snapshot::of(&host);
    host.rvm(["run", "--rm", "stranger", "true"])
        .wait()
        .refused(125, &["stranger"]);
    before.assert_unchanged(&host);
}
