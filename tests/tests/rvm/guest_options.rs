//! Options of `rvm run` that take effect inside the guest, seen from inside the container.

use std::fs;

use serde_json::json;

use crate::support::{Host, limit};
use crate::{needs_container, needs_microvm};

#[test]
fn options_of_the_guest_take_effect_together() {
    needs_container!();
    let host = Host::shared();
    let cidfile = host.folder().join("tmp/cid");
    let options = [
        "--init",
        "--add-host=db:10.0.0.9",
        "--add-host=me:host-gateway",
        "--dns=192.0.2.53",
        "--dns-search=x.example",
        "--dns-option=ndots:2",
        "--tmpfs=/run:size=1m",
        "--shm-size=2m",
        "--ulimit=nofile=100:200",
        "--cap-add=SYS_TIME",
        "--cap-drop=cap_mknod",
        "--security-opt=no-new-privileges",
        "--pids-limit=50",
        "--group-add=audio",
        "--group-add=4242",
        "--sysctl=net/core/somaxconn=77",
        "--domainname=dom.example",
        "--mac-address=02:42:ac:11:00:99",
        "--platform=linux/amd64",
        "--hostname=self",
        "--cidfile",
        cidfile.to_str().expect("UTF-8"),
    ];
    let command = [
        "busybox",
        "sh",
        "-c",
        "trap 'exit 7' TERM; (sleep 0 & exit 0); echo ready; while :; do sleep 1; done",
    ];
    let container = host.detached(options.iter().chain(&command).copied().collect::<Vec<_>>());
    assert_eq!(fs::read_to_string(&cidfile).expect("file"), container.id);
    container.wait_for("ready");

    let resolver = container.sh("cat /etc/resolv.conf");
    assert_eq!(
        resolver,
        "nameserver 192.0.2.53\nsearch x.example\noptions ndots:2"
    );
    let hosts = container.sh("tail -n 3 /etc/hosts");
    let inspected = container.inspect();
    let asked = &inspected["HostConfig"];
    for (name, value) in [
        ("Init", json!(true)),
        ("ExtraHosts", json!(["db:10.0.0.9", "me:host-gateway"])),
        ("Dns", json!(["192.0.2.53"])),
        ("DnsSearch", json!(["x.example"])),
        ("DnsOptions", json!(["ndots:2"])),
        ("Tmpfs", json!({ "/run": "size=1048576" })),
        ("ShmSize", json!(2 << 20)),
        (
            "Ulimits",
            json!([{ "Name": "nofile", "Hard": 200, "Soft": 100 }]),
        ),
        ("CapAdd", json!(["CAP_SYS_TIME"])),
        ("CapDrop", json!(["CAP_MKNOD"])),
        ("SecurityOpt", json!(["no-new-privileges"])),
        ("PidsLimit", json!(50)),
        ("GroupAdd", json!(["audio", "4242"])),
        ("Sysctls", json!({ "net.core.somaxconn": "77" })),
        ("Privileged", json!(false)),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
    assert_eq!(inspected["Config"]["Domainname"], "dom.example");
    let network = &inspected["NetworkSettings"];
    let text = |name: &str| network[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        hosts,
        format!(
            "10.0.0.9\tdb\n{}\tme\n{}\tself.dom.example self",
            text("Gateway"),
            text("IPAddress")
        )
    );
    for (path, options) in [("/run", "size=1024k"), ("/dev/shm", "size=2048k")] {
        let mount = container.sh(&format!("grep ' {path} tmpfs ' /proc/mounts"));
        assert!(
            mount.contains(options) && mount.contains("noexec"),
            "{mount}"
        );
    }
    // The process that comes later has what the first one has.
    for status in ["/proc/1/status", "/proc/self/status"] {
        let limits = status.replace("status", "limits");
        assert_eq!(
            container.sh(&format!(
                "sed -n 's/^Max open files *//p' {limits} | tr -s ' ' | sed 's/ $//'; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' {status}"
            )),
            "100 200 files\nCapEff:\t00000000a20425fb\nCapBnd:\t00000000a20425fb\nNoNewPrivs:\t1\nSeccomp:\t2",
            "{status}"
        );
        assert_eq!(
            container.sh(&format!("sed -n 's/^Groups:\\t//p' {status}")),
            "0 10 29 4242",
            "{status}"
        );
    }
    assert_eq!(
        container.sh(&format!(
            "{}; cat /proc/sys/net/core/somaxconn /proc/sys/kernel/domainname /sys/class/net/eth0/address",
            limit("pids.max")
        )),
        "50\n77\ndom.example\n02:42:ac:11:00:99"
    );
    // The init is process 1, nobody's child is left a zombie, and the command is another process, to which signals go.
    assert_ne!(container.sh("cat /proc/1/comm"), "sh");
    assert_eq!(
        container.sh("cat /proc/[0-9]*/stat | grep -c ' Z '; true"),
        "0"
    );
    host.rvm(["stop", "-t", "60", &container.id])
        .wait()
        .success();
    let code = host.rvm(["wait", &container.id]).wait().success();
    assert_eq!(code, "7\n");

    // The id's file stands in the way of another container of that file.
    let again = [
        "run",
        "--cidfile",
        cidfile.to_str().expect("UTF-8"),
        "busybox",
    ];
    host.rvm(again)
        .wait()
        .refused(125, &["container ID file found"]);
}

#[test]
fn seccomp_forbids_what_dockers_profile_forbids_unless_told_otherwise() {
    needs_container!();
    let host = Host::shared();
    let profile = host.folder().join("tmp/profile.json");
    fs::write(
        &profile,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}"#,
    )
    .expect("file");
    let script = "mkdir /made; unshare -U true; sed -n 's/^Seccomp:\\t//p' /proc/self/status";
    let run = |option: &str| {
        let words = [
            "run",
            "--rm",
            "--network=none",
            option,
            "busybox",
            "sh",
            "-c",
            script,
        ];
        host.rvm(words).wait()
    };
    let end = run("--security-opt=no-new-privileges=false");
    assert_eq!(end.text(), "2\n", "{end}");
    assert!(end.errors().contains("unshare"), "{end}");
    assert!(!end.errors().contains("mkdir"), "{end}");
    let end = run(&format!("--security-opt=seccomp={}", profile.display()));
    assert_eq!(end.text(), "2\n", "{end}");
    // ENOTSUP, as the profile says.
    assert!(
        end.errors().contains("Not supported") || end.errors().contains("not supported"),
        "{end}"
    );
    assert!(!end.errors().contains("unshare"), "{end}");
}

#[test]
fn a_privileged_container_has_its_guest_and_nothing_of_the_host() {
    needs_microvm!();
    let host = Host::shared();
    let script = "sed -n 's/^\\(CapEff\\|Seccomp\\):\\t//p' /proc/self/status; \
                  mkdir /x; mount -t tmpfs x /x && echo mounted; mkdir /sys/fs/cgroup/of-mine && echo made; \
                  head -c 1 /dev/vda >/dev/null && echo read; ls /dev | grep -c kvm";
    let words = [
        "run",
        "--rm",
        "--network=none",
        "--privileged",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let end = host.rvm(words).wait();
    assert_eq!(
        end.text(),
        "000001ffffffffff\n0\nmounted\nmade\nread\n0\n",
        "{end}"
    );
}

/// As Docker's, which is no isolation.
#[test]
fn a_privileged_container_without_a_guest_has_the_hosts_devices() {
    needs_container!();
    let script = "sed -n 's/^\\(CapEff\\|Seccomp\\):\\t//p' /proc/self/status; \
                  mkdir /x; mount -t tmpfs x /x && echo mounted; ls -d /dev/loop-control";
    let words = [
        "--network=none",
        "--privileged",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let run = ["run", "--rm", "--isolation", "container"].into_iter();
    let end = Host::shared().rvm(run.chain(words)).wait();
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:\t"));
    let own = own.expect("a set");
    assert_eq!(
        end.text(),
        format!("{own}\n0\nmounted\n/dev/loop-control\n"),
        "{end}"
    );
}

#[test]
fn wrong_options_of_the_guest_are_refused() {
    needs_container!();
    let host = Host::empty();
    for (option, word) in [
        ("--add-host=x", "bad format for add-host"),
        ("--add-host=x:y", "invalid IP address in add-host"),
        ("--dns=x", "IP address is not correctly formatted"),
        ("--dns-search=a..b", "is not a valid domain"),
        ("--tmpfs=run", "absolute"),
        ("--tmpfs=/run:x=1", "invalid tmpfs option"),
        ("--shm-size=0", "SHM size"),
        ("--ulimit=nofile", "invalid ulimit argument"),
        ("--ulimit=files=1", "invalid ulimit type"),
        (
            "--ulimit=nofile=2:1",
            "soft limit must be less than or equal to hard limit",
        ),
        ("--cap-add=FLY", "unknown capability"),
        ("--security-opt=x", "invalid --security-opt"),
        (
            "--security-opt=seccomp=/no/such/file",
            "opening seccomp profile (/no/such/file) failed",
        ),
        (
            "--security-opt=seccomp=/etc/passwd",
            "Decoding seccomp profile",
        ),
        ("--sysctl=x", "invalid sysctl"),
        ("--mac-address=x", "is not a valid mac address"),
        ("--platform=linux/arm64", "linux/amd64 only"),
        ("--volume=/a:/b", "rvm cp"),
        ("--mount=type=bind", "--mount is not supported"),
        ("--device=/dev/kvm", "--privileged"),
        ("--ip=10.0.0.1", "user-specified IP address"),
    ] {
        host.rvm(["run", option, "busybox", "true"])
            .wait()
            .refused(125, &[word]);
    }
}
