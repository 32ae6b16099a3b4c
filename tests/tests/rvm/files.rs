//! `cp`, `diff` and `export`: a container's files, judged by tar and by the host's own eyes.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use crate::needs_container;
use crate::support::process::judge;
use crate::support::terminal::Terminal;
use crate::support::{Container, Host};

#[test]
fn files_are_copied_both_ways_by_dockers_rules() {
    needs_container!();
    let host = Host::shared();
    let script = "mkdir -p /d/sub; echo one > /d/one; echo two > /d/sub/two; ln -s /d/one /link; chown 33 /d/one; \
                  chmod 4755 /d/one; echo user >> /etc/passwd; rm /etc/group; ln -s /etc /d/etc; echo up; exec tail -f /dev/null";
    let container = host.detached(["--network", "none", "busybox", "sh", "-c", script]);
    container.wait_for("up");
    let folder = host.folder().join("tmp/files");
    fs::create_dir(&folder).expect("folder");
    let at = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let inside = |path: &str| format!("{}:{path}", container.id);
    let copy = |words: &[&str]| {
        host.rvm(["cp"].iter().chain(words).copied().collect::<Vec<_>>())
            .wait()
    };
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");

    // Out: to a new name, into a folder that is there, what is in it, a link and what it leads to.
    copy(&[&inside("/d"), &at("new")]).success();
    assert_eq!(
        (read("new/one"), read("new/sub/two")),
        ("one\n".into(), "two\n".into())
    );
    let copied = fs::metadata(folder.join("new/one")).expect("a file");
    assert_eq!((copied.uid(), copied.mode() & 0o7777), (0, 0o755));
    copy(&[&inside("/d"), &at("new")]).success();
    assert_eq!(read("new/d/sub/two"), "two\n");
    copy(&["-a", &inside("/d/."), &at("owned")]).success();
    assert_eq!(
        fs::metadata(folder.join("owned/one"))
            .expect("a file")
            .uid(),
        33
    );
    copy(&[&inside("/link"), &at("as-link")]).success();
    assert_eq!(
        fs::read_link(folder.join("as-link"))
            .expect("a link")
            .to_str(),
        Some("/d/one")
    );
    copy(&["-L", &inside("/link"), &at("as-file")]).success();
    assert_eq!(read("as-file"), "one\n");
    copy(&[&inside("/etc/hostname"), &at("hostname")]).success();
    assert!(container.id.starts_with(read("hostname").trim()));

    // In: over a file, into a folder, through a link that stays inside, as a stream.
    fs::write(folder.join("page"), "page\n").expect("a file");
    copy(&[&at("page"), &inside("/d/one")]).success();
    copy(&[&at("page"), &inside("/d/etc/")]).success();
    copy(&[&at("new/sub"), &inside("/tmp")]).success();
    symlink("/etc/shadow", folder.join("secret")).expect("a link");
    copy(&[&at("secret"), &inside("/tmp/secret")]).success();
    copy(&["-L", &at("as-link"), &inside("/tmp/x")]).refused(1, &["as-link"]);
    assert_eq!(
        container.sh("cat /d/one /etc/page /tmp/sub/two; readlink /tmp/secret; stat -c %u /d/one"),
        "page\npage\ntwo\n/etc/shadow\n0"
    );
    let archive = fs::File::create(folder.join("d.tar")).expect("a file");
    let mut command = host.rvm_command(["cp", &inside("/d/sub"), "-"]);
    assert!(command.stdout(archive).status().expect("rvm").success());
    assert_eq!(judge("tar", ["-tf", &at("d.tar")]), "sub/\nsub/two\n");
    let mut command = host.rvm_command(["cp", "-", &inside("/tmp/sub")]);
    let archive = fs::File::open(folder.join("d.tar")).expect("a file");
    assert!(command.stdin(archive).status().expect("rvm").success());
    assert_eq!(container.sh("cat /tmp/sub/sub/two"), "two");

    // At a terminal it is said what was copied, and else nothing.
    let shown = |words: &[&str], said: [&str; 2]| {
        let command = host.rvm_command(["cp"].iter().chain(words).copied());
        let mut terminal = Terminal::start(&command);
        said.iter().for_each(|text| terminal.wait_for(text));
        assert_eq!(terminal.wait().code(), 0);
        terminal.screen.text()
    };
    let into = inside("/tmp/page");
    let copied = |to: &str| format!("B) to {to}\r\n");
    let first = "Successfully copied 5B (transferred ";
    let said = shown(&[&at("page"), &into], [first, &copied(&into)]);
    assert!(said.contains("Copying to container - "), "{said:?}");
    let said = shown(&[&into, &at("back")], [first, &copied(&at("back"))]);
    assert!(said.contains("Copying from container - "), "{said:?}");
    assert_eq!(shown(&["-q", &at("page"), &into], [""; 2]), "");
    assert_eq!(copy(&[&into, &at("back")]).errors(), "");

    // What can't be.
    copy(&[&inside("/nope"), &at("x")]).refused(1, &["Could not find the file /nope"]);
    copy(&[&inside("/d/one"), &at("no/such/x")]).refused(1, &["does not exist"]);
    copy(&[&inside("/d"), &at("page")]).refused(1, &["cannot copy directory"]);
    copy(&[&at("page"), &inside("/no/such/x")]).refused(1, &["/no/such"]);
    copy(&[&at("page"), &at("x")]).refused(1, &["at least one container"]);

    // What has changed, in the order of the paths, and nothing of what is only mounted.
    let changes = host.rvm(["diff", &container.id]).wait().success();
    for line in [
        "A /d",
        "A /d/sub/two",
        "C /etc",
        "D /etc/group",
        "C /etc/passwd",
        "A /etc/page",
        "A /link",
    ] {
        assert!(
            changes.lines().any(|found| found == line),
            "{line}: {changes}"
        );
    }
    for path in ["/proc", "/dev", "/sys", "/etc/hosts", "/etc/resolv.conf"] {
        assert!(
            !changes.lines().any(|found| found.ends_with(path)),
            "{path}: {changes}"
        );
    }

    // The whole root.
    host.rvm(["export", "-o", &at("root.tar"), &container.id])
        .wait()
        .success();
    assert_eq!(
        judge("tar", ["-xOf", &at("root.tar"), "etc/page", "d/sub/two"]),
        "two\npage\n"
    );
    let list = judge("tar", ["-tf", &at("root.tar")]);
    assert!(list.lines().any(|name| name == "bin/busybox"), "{list}");
    assert!(
        !list
            .lines()
            .any(|name| name.starts_with("proc/") && name != "proc/"),
        "{list}"
    );
}

#[test]
fn files_of_a_container_that_does_not_run_are_got_at_too() {
    needs_container!();
    let host = Host::shared();
    let rvm = |args: &[&str]| host.rvm(args.iter().copied()).wait();
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(path("given"), "given\n").expect("file");
    let script = "cat /given; echo made > /made; rm /etc/group";
    let create = ["create", "--network", "none", "busybox", "sh", "-c", script];
    let container = Container::started(host, rvm(&create).success());
    let id = container.id.as_str();
    rvm(&["cp", &path("given"), &format!("{id}:/given")]).success();
    assert_eq!(rvm(&["start", "-a", id]).success(), "given\n");
    rvm(&["cp", &format!("{id}:/made"), &path("made")]).success();
    let made = std::fs::read_to_string(path("made")).expect("file");
    assert_eq!(made, "made\n");
    assert_eq!(
        rvm(&["diff", id]).success(),
        "C /etc\nD /etc/group\nA /given\nA /made\n"
    );
    let image = format!("committed-{}", &id[..12]);
    rvm(&["commit", "-c", "CMD [\"cat\", \"/made\"]", id, &image]).success();
    let run = ["run", "--rm", "--network", "none", &image];
    assert_eq!(rvm(&run).success(), "made\n");
    rvm(&["rmi", &image]).success();
}
