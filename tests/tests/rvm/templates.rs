//! Containers go on from templates: clones are as like as they should be, and differ where they must.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::needs_microvm;
use crate::support::{Host, number, seconds};

/// What every guest has to itself, a line each: random numbers, names, addresses.
const IDENTITY: &str = "[ $HOSTNAME = $(hostname) ] || echo $HOSTNAME; cat /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1; hostname; \
    cat /sys/class/net/eth0/address; ip -4 -o addr show eth0 | tr -s ' ' | cut -d' ' -f4; exec cat";

/// Whether the clocks are right: seconds since 1970, and whether one that must not go backwards did.
const CLOCKS: &str = "date +%s; a=$(cut -d. -f1 /proc/uptime); sleep 1; b=$(cut -d. -f1 /proc/uptime); [ $b -gt $a ] && echo forwards";

#[test]
fn clones_share_a_template_and_nothing_else() {
    needs_microvm!();
    let host = Host::empty().load(&["busybox"]);
    let rvm = |args: &[&str]| host.rvm(args.iter().copied()).wait();
    let templates = || rvm(&["template", "ls", "-q", "--no-trunc"]).success();

    rvm(&["run", "--rm", "--no-template", "busybox", "true"]).success();
    assert_eq!(templates(), "");
    // The first one boots and makes the templates of a guest that is ready and of one with the container in it; the others go on from
    // that, all at once.
    let run = ["run", "--rm", "-i", "busybox", "sh", "-c", IDENTITY];
    let first = rvm(&run).success();
    let made = templates();
    assert_eq!(made.lines().count(), 2, "{made}");
    let clones = || -> Vec<String> {
        let clones = (0..number("RVM_TEST_CLONES", 3)).map(|_| host.rvm(run));
        let clones: Vec<_> = clones.collect();
        // All are there before the first one gives its address back.
        for clone in &clones {
            let lines = |said: &[u8]| said.iter().filter(|byte| **byte == b'\n').count();
            assert!(clone.stdout.wait_until(|said| lines(said) >= 5));
        }
        let ends = clones.into_iter().map(|clone| clone.wait().success());
        ends.collect()
    };
    // These go on from there, and leave a template of the process that stands before its first instruction; those go on from that.
    let (prepared, held) = (clones(), clones());
    assert_eq!(templates().lines().count(), 3, "{}", templates());
    let mut names = BTreeSet::new();
    for output in prepared.iter().chain(&held).chain([&first]) {
        // Addresses are given back, and given out again.
        for line in output.lines().filter(|line| !line.contains([':', '/'])) {
            assert!(
                names.insert(line),
                "{line} twice: {first} {prepared:?} {held:?}"
            );
        }
        // Two random numbers, a name, two addresses.
        assert_eq!(output.lines().count(), 5, "{output}");
    }
    for clones in [&prepared, &held] {
        let mut addresses = BTreeSet::new();
        for output in clones {
            for line in output.lines().filter(|line| line.contains([':', '/'])) {
                assert!(addresses.insert(line), "{line} twice: {clones:?}");
            }
        }
    }
    assert_eq!(templates().lines().count(), 3);

    let before = seconds();
    let clocks = rvm(&["run", "--rm", "busybox", "sh", "-c", CLOCKS]).success();
    let (date, forwards) = clocks.split_once('\n').expect("two lines");
    let date: u64 = date.parse().expect("seconds");
    assert!((before..=seconds()).contains(&date), "{before} {date}");
    assert_eq!(forwards, "forwards\n");

    // What shapes the guest makes another template; what does not, doesn't.
    rvm(&[
        "run",
        "--rm",
        "--env",
        "A=b",
        "--workdir",
        "/tmp",
        "busybox",
        "true",
    ])
    .success();
    assert_eq!(templates().lines().count(), 3);
    rvm(&["run", "--rm", "--read-only", "busybox", "true"]).success();
    assert_eq!(templates().lines().count(), 5);

    // One can be made ahead.
    let ahead = rvm(&["template", "create", "--read-only", "busybox", "true"]).success();
    assert!(templates().contains(&ahead), "{ahead}");
    assert_eq!(templates().lines().count(), 6);
    assert_eq!(rvm(&["ps", "-aq"]).success(), "");

    let short = &made[..12];
    let list = rvm(&["template", "ls"]).success();
    let line = list.lines().find(|line| line.starts_with(short));
    assert!(line.expect("listed").contains("busybox"), "{list}");
    rvm(&["template", "rm", "none"]).refused(1, &["No such template: none"]);
    assert_eq!(
        rvm(&["template", "rm", short]).success(),
        format!("{short}\n")
    );
    rvm(&["template", "prune", "--force"]).success();
    assert_eq!(templates(), "");
    let left = fs::read_dir(host.root().join("templates")).expect("folder");
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["wanted"]);
}

#[test]
fn another_image_or_other_options_boot_nothing() {
    needs_microvm!();
    let host = Host::empty().load(&["busybox"]);
    let stage = |stage: &str| {
        let list = ["template", "ls", "--no-trunc", "--format"];
        let format = format!("{{{{if eq .Stage {stage:?}}}}}{{{{.ID}}}}{{{{end}}}}");
        let ids = host.rvm(list.into_iter().chain([format.as_str()])).wait();
        ids.success()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let goes_on_from = |options: &[&str]| {
        let words = options.iter().copied();
        let container = host.detached(words.chain(["busybox", "sleep", "1000000"]));
        let vmm = container.inspect()["State"]["Pid"].to_string();
        let maps = fs::read_to_string(format!("/proc/{vmm}/maps")).expect("maps");
        let memory = maps.lines().find(|line| line.ends_with("/memory"));
        let folder = memory.and_then(|line| Path::new(line).parent()?.file_name()?.to_str());
        folder.map(str::to_owned)
    };
    assert_eq!(goes_on_from(&[]), None);
    let ready = stage("ready");
    assert_eq!(ready.len(), 1, "{ready:?}");
    assert_eq!(goes_on_from(&["--tmpfs", "/tmp"]).as_ref(), ready.first());
    assert_eq!(stage("ready"), ready);
    assert_eq!(stage("prepared").len(), 2);
}

#[test]
fn a_template_that_is_not_whole_is_replaced_by_a_boot() {
    needs_microvm!();
    let host = Host::empty().load(&["busybox"]);
    let run = |text: &str| {
        let run = ["run", "--rm", "--network", "none", "busybox", "echo", text];
        let end = host.rvm(run).wait();
        assert_eq!(end.success(), format!("{text}\n"));
    };
    let list = ["template", "ls", "-q", "--no-trunc"];
    let templates = || -> BTreeSet<PathBuf> {
        let ids = host.rvm(list).wait().success();
        let folder = host.root().join("templates");
        ids.lines().map(|id| folder.join(id)).collect()
    };
    let cut = |folder: &Path| {
        let memory = File::options().write(true).open(folder.join("memory"));
        memory.expect("memory").set_len(1 << 20).expect("cut");
    };
    let length = |folder: &Path| {
        let memory = fs::metadata(folder.join("memory"));
        memory.expect("memory").len()
    };
    run("one");
    let made = templates();
    for folder in &made {
        let state = File::options().write(true).open(folder.join("state"));
        state
            .expect("state")
            .write_all_at(b"not the state", 100)
            .expect("written");
    }
    run("two");
    // Whoever has them made anew puts them into the same places.
    for folder in &made {
        let mut bytes = [0; 13];
        let state = File::open(folder.join("state")).expect("state");
        state.read_exact_at(&mut bytes, 100).expect("read");
        assert_ne!(&bytes, b"not the state");
        cut(folder);
    }
    run("three");
    assert!(made.iter().all(|folder| length(folder) > 1 << 20));

    // That of a command goes on from the one before it, and does not break it.
    run("three");
    let now = templates();
    let held = now.difference(&made).next().expect("a third template");
    run("three");
    cut(held);
    run("three");
    assert!(length(held) > 1 << 20);
    assert_eq!(templates(), now);
}
