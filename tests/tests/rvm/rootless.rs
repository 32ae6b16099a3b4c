//! Containers of whoever is not root.

use std::path::{Path, PathBuf};

use crate::needs_container;
use crate::support::{Host, Process, archive, isolation, rvm, wait_until};

/// A user that every Debian has, and who has nothing.
const USER: &str = "65534";

/// What an administrator gives a user: further ids, and devices, which not every machine has for all.
const GIVE: &str = r#"
    mkdir -p /run/give && mount -t tmpfs tmpfs /run/give && cd /run/give && mkdir programs images home &&
    mount --bind "$1" programs && mount --bind "$2" images && mount --bind "$3" home && chown "$4:$4" home &&
    mknod fuse c 10 229 && mknod tun c 10 200 && mknod kvm c 10 232 && chmod 666 fuse tun kvm &&
    mount --bind fuse /dev/fuse && mount --bind tun /dev/net/tun && { [ ! -e /dev/kvm ] || mount --bind kvm /dev/kvm; } &&
    echo "$5" >ids && mount --bind ids /etc/subuid && mount --bind ids /etc/subgid
"#;

/// A network, and something beyond it.
const NETWORK: &str = "
    ip netns add beyond && ip link add lan type veth peer name there netns beyond &&
    ip address add 192.0.2.1/24 dev lan && ip link set lan up &&
    ip -n beyond address add 192.0.2.2/24 dev there && ip -n beyond link set there up
";

/// Somebody on a host of the test's own, whose mounts nobody else sees.
struct Somebody {
    host: Host,
}

impl Somebody {
    /// With these lines as /etc/subuid and /etc/subgid.
    fn new(ids: &str) -> Self {
        let host = Host::empty_private();
        let home = host.folder().join("home");
        std::fs::create_dir(&home).expect("folder");
        let program = rvm();
        let build = program.parent().and_then(Path::parent).expect("a folder");
        let images = archive("busybox");
        let images = images.parent().expect("a folder");
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let (build, images, home) = (text(build), text(images), text(&home));
        host.judge(
            "sh",
            &["-c", GIVE, "give", &build, &images, &home, USER, ids],
        );
        let somebody = Self { host };
        for image in ["busybox", "nginx"] {
            let archive = PathBuf::from("/run/give/images").join(format!("{image}.oci.tar"));
            somebody
                .rvm(&["load", "-q", "-i", archive.to_str().expect("UTF-8")])
                .wait()
                .success();
        }
        somebody
    }

    fn rvm(&self, args: &[&str]) -> Process {
        self.rvm_with("container", args)
    }

    fn rvm_with(&self, isolation: &str, args: &[&str]) -> Process {
        let mut command = self.host.command("setpriv");
        command
            .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
            .arg("/run/give/programs/bin/rvm")
            .args(args)
            .env("RVM_ROOT", "/run/give/home/root")
            .env("TMPDIR", "/run/give/home")
            .env("RVM_ISOLATION", isolation)
            .env_remove("RVM_RUNTIME")
            .current_dir("/");
        Process::start(command)
    }

    fn sh(&self, id: &str, script: &str) -> String {
        self.rvm(&["exec", id, "sh", "-c", script]).wait().success()
    }
}

impl Drop for Somebody {
    fn drop(&mut self) {
        let ids = self.rvm(&["ps", "-aq"]).wait().text();
        for id in ids.lines() {
            self.rvm(&["rm", "-f", id]).wait();
        }
    }
}

#[test]
fn a_container_without_root_is_a_container() {
    needs_container!();
    let somebody = Somebody::new("nobody:100000:65536");
    let run = ["run", "-d", "--name", "mine", "--network", "none"];
    let mut command = run.to_vec();
    command.extend(["nginx", "sh", "-c", "echo begin; exec tail -f /dev/null"]);
    let id = somebody.rvm(&command).wait().success();
    let begun = somebody.rvm(&["logs", "--follow", "mine"]);
    begun.wait_for("begin\n");
    drop(begun);
    assert_eq!(somebody.rvm(&["logs", "mine"]).wait().success(), "begin\n");

    // It is root inside, has other users, and is nobody's root outside.
    assert_eq!(
        somebody.sh("mine", "id -u; hostname"),
        format!("0\n{}\n", &id[..12])
    );
    let map = somebody.sh("mine", "cat /proc/self/uid_map");
    let map: Vec<_> = map.split_whitespace().collect();
    assert_eq!(map, ["0", USER, "1", "1", "100000", "65535"], "{map:?}");
    let other = ["exec", "--user", "www-data", "mine", "id", "-un"];
    assert_eq!(somebody.rvm(&other).wait().success(), "www-data\n");
    somebody.sh(
        "mine",
        "install -o www-data -m 600 /etc/passwd /root/theirs",
    );
    assert_eq!(somebody.sh("mine", "stat -c %U /root/theirs"), "www-data\n");
    // A program of the image, and one that asks for what only a host's root may.
    assert!(somebody.sh("mine", "nginx -v 2>&1").contains("nginx/"));
    let mount = somebody.sh("mine", "mount -t tmpfs tmpfs /mnt 2>&1 || echo refused");
    assert!(mount.contains("refused"), "{mount}");
    assert_eq!(somebody.sh("mine", "ls /sys/fs/cgroup"), "");

    // What it has changed, and what of it is in an image.
    let diff = somebody.rvm(&["diff", "mine"]).wait().success();
    assert!(diff.contains("A /root/theirs"), "{diff}");
    somebody.sh(
        "mine",
        "rm -r /etc/nginx && mkdir /etc/nginx && touch /etc/nginx/only",
    );
    somebody
        .rvm(&["commit", "mine", "committed"])
        .wait()
        .success();
    let list = [
        "run",
        "--rm",
        "--network",
        "none",
        "committed",
        "ls",
        "/etc/nginx",
    ];
    assert_eq!(somebody.rvm(&list).wait().success(), "only\n");

    // It ends and begins again with what it has written.
    somebody.rvm(&["stop", "-t", "0", "mine"]).wait().success();
    somebody
        .rvm(&["cp", "mine:/root/theirs", "/run/give/home/copied"])
        .wait()
        .success();
    somebody.rvm(&["start", "mine"]).wait().success();
    assert_eq!(somebody.sh("mine", "stat -c %U /root/theirs"), "www-data\n");
    let top = somebody.rvm(&["top", "mine"]).wait().success();
    assert!(top.contains("tail -f /dev/null"), "{top}");
    somebody.rvm(&["kill", "mine"]).wait().success();
    assert_eq!(somebody.rvm(&["wait", "mine"]).wait().success(), "137\n");

    // What stands between it and the host, beside the usual, is that it is nobody there.
    let report = somebody.rvm(&["isolation-report", "--isolation", "container"]);
    let report = report.wait().success();
    assert!(report.contains("net pid user uts"), "{report}");

    // Nothing of it is left, of whichever user it was.
    somebody.rvm(&["rm", "mine"]).wait().success();
    let containers = somebody
        .host
        .judge("ls", &["/run/give/home/root/containers"]);
    assert_eq!(containers, "");
    let processes = somebody.host.judge("ps", &["-eo", "args"]);
    assert!(!processes.contains("rvm-rootless"), "{processes}");
}

#[test]
fn what_needs_root_is_refused_without_it() {
    needs_container!();
    // Without further ids there is one user.
    let somebody = Somebody::new("");
    let run = ["run", "--rm", "--network", "none"];
    let run = |args: &[&str]| somebody.rvm(&[&run[..], args].concat()).wait();
    assert_eq!(
        run(&["busybox", "sh", "-c", "id -u; cat /etc/hostname | wc -l"]).success(),
        "0\n1\n"
    );
    for (option, why) in [
        ("--memory=100m", "control group"),
        ("--cpus=1", "control group"),
        ("--pids-limit=10", "control group"),
        ("--privileged", "needs root"),
        ("--storage-opt=size=1g", "a folder"),
        ("--runtime=crun", "needs root"),
        ("--user=1000", "/etc/subuid"),
    ] {
        run(&[option, "busybox", "true"]).refused(125, &[why]);
    }
    somebody.host.judge("chmod", &["600", "/dev/fuse"]);
    run(&["busybox", "true"]).refused(125, &["FUSE", "chmod"]);
    somebody.host.judge("chmod", &["666", "/dev/fuse"]);
    let id = somebody
        .rvm(&[
            "run",
            "-d",
            "--network",
            "none",
            "busybox",
            "tail",
            "-f",
            "/dev/null",
        ])
        .wait()
        .success();
    let pause = somebody.rvm(&["pause", id.trim()]).wait();
    pause.refused(1, &["control group"]);
    let update = somebody.rvm(&["update", "--memory=100m", id.trim()]).wait();
    update.refused(1, &["control group"]);
}

#[test]
fn a_network_without_root_is_the_users_own() {
    needs_container!();
    let somebody = Somebody::new("nobody:100000:65536");
    let rvm = |args: &[&str]| somebody.rvm_with(&isolation(), args).wait();
    let host = &somebody.host;
    // Nothing is needed for it of a host but its loopback.
    rvm(&["run", "--rm", "busybox", "true"]).success();
    host.judge("sh", &["-c", NETWORK]);
    let serve = |port, folder| ["-m", "http.server", "--directory", folder, port];
    let beyond = [
        &["netns", "exec", "beyond", "python3"],
        &serve("8000", "/usr/share/misc")[..],
    ];
    let _beyond = host.start("ip", &beyond.concat());
    let _here = host.start("python3", &serve("9000", "/"));
    let patience = ["--retry", "250", "--retry-delay", "1", "--retry-all-errors"];
    let curl = |url: &str| host.judge("curl", &[&["-sSf", url], &patience[..]].concat());
    curl("http://192.0.2.2:8000/");
    curl("http://127.0.0.1:9000/");

    let ports = ["-p", "127.0.0.1::80", "-p", "192.0.2.1:8080:80"];
    let run = [&["run", "-d", "--name", "web"], &ports[..], &["nginx"]];
    rvm(&run.concat()).success();
    let at = rvm(&["port", "web", "80"]).success();
    let at: Vec<_> = at.lines().collect();
    assert_eq!((at.len(), at[0]), (2, "192.0.2.1:8080"), "{at:?}");
    for address in &at {
        let page = curl(&format!("http://{address}/"));
        assert!(page.contains("Welcome to nginx!"), "{page}");
    }
    // A port is published once, and again when it is free.
    let twice = ["run", "-p", "127.0.0.1:8081:80", "-p", "192.0.2.1:8081:80"];
    rvm(&[&twice[..], &["busybox", "true"]].concat()).refused(125, &["8081", "twice"]);
    let again = ["run", "--rm", "-p", "192.0.2.1:8080:80", "busybox", "true"];
    rvm(&again).refused(125, &["192.0.2.1:8080"]);
    rvm(&["rm", "-f", "web"]).success();
    rvm(&again).success();

    // From inside there is a way beyond the host, and none to what the host has for itself.
    let ask = |at: &str, seconds: &str| {
        let request = r"printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3";
        let script = format!("exec 2>&1 3<>/dev/tcp/{at}; {request}");
        rvm(&[
            "run", "--rm", "nginx", "timeout", seconds, "bash", "-c", &script,
        ])
    };
    let listing = ask("192.0.2.2/8000", "120").success();
    assert!(listing.contains("Directory listing"), "{listing}");
    let gateway = rvm(&["run", "--rm", "busybox", "ip", "route"]).success();
    let gateway = gateway.strip_prefix("default via ").expect("a route");
    let (gateway, _) = gateway.split_once(' ').expect("an address");
    let here = ask(&format!("{gateway}/9000"), "10");
    assert!(
        here.code() != 0 && !here.text().contains("Directory"),
        "{here}"
    );

    wait_until("passt's end", || {
        let processes = host.judge("ps", &["-eo", "comm"]);
        (!processes.contains("passt")).then_some(())
    });
}
