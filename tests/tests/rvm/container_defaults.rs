//! What every container has without being asked: Docker's privileges, devices, mounts and files.

use crate::needs_container;
use crate::support::Host;
use crate::support::process::judge;

#[test]
fn a_container_is_as_docker_makes_it() {
    needs_container!();
    let container =
        Host::shared().detached(["--hostname", "self", "busybox", "tail", "-f", "/dev/null"]);

    // Docker's fourteen capabilities: for the first process, for exec as root, and none in effect for other users.
    let capabilities = "00000000a80425fb";
    for status in ["/proc/1/status", "/proc/self/status"] {
        let sets = container.sh(&format!("sed -n 's/^Cap//p' {status}"));
        let expected = format!(
            "Inh:\t0000000000000000\nPrm:\t{capabilities}\nEff:\t{capabilities}\nBnd:\t{capabilities}\nAmb:\t0000000000000000"
        );
        assert_eq!(sets, expected, "{status}");
    }
    let exec = |options: &[&str], script: &str| {
        let words = ["exec"].into_iter().chain(options.iter().copied()).chain([
            container.id.as_str(),
            "sh",
            "-c",
            script,
        ]);
        container.host.rvm(words.collect::<Vec<_>>()).wait()
    };
    let as_other = exec(
        &["-u", "nobody"],
        "sed -n 's/^CapEff:\\t//p; s/^CapBnd:\\t//p' /proc/self/status",
    )
    .success();
    assert_eq!(as_other, format!("0000000000000000\n{capabilities}\n"));

    // Users by name, by number with a group, and with the groups that they are members of.
    for (user, expected) in [
        ("operator", "37 37 37\n"),
        ("33", "33 33 33\n"),
        ("33:50", "33 50 50\n"),
        ("mail:adm", "8 4 4\n"),
        ("1234", "1234 0 0\n"),
        ("root", "0 0 0 10\n"),
    ] {
        assert_eq!(
            exec(&["-u", user], "echo $(id -u) $(id -g) $(id -G)").success(),
            expected,
            "{user}"
        );
    }
    exec(&["-u", "no-such-user"], "true").refused(126, &["no-such-user"]);
    let dressed = exec(&["-e", "A=b c", "-w", "/tmp"], "echo \"$A\"; pwd").success();
    assert_eq!(dressed, "b c\n/tmp\n");
    container
        .host
        .rvm(["exec", &container.id, "no-such-command"])
        .wait()
        .refused(127, &["no-such-command"]);
    container
        .host
        .rvm(["exec", &container.id, "/etc/passwd"])
        .wait()
        .refused(126, &["/etc/passwd"]);
    assert_eq!(exec(&[], "kill -9 $$").code(), 137);

    // Devices and links in /dev.
    let devices = container.sh("cd /dev; find . -maxdepth 1 | sort");
    let expected =
        "console core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    let names: Vec<_> = devices
        .lines()
        .filter_map(|line| line.strip_prefix("./"))
        .filter(|name| *name != "console" && *name != "core")
        .collect();
    let expected: Vec<_> = expected
        .split(' ')
        .filter(|name| *name != "console" && *name != "core")
        .collect();
    assert_eq!(names, expected);
    assert_eq!(
        container.sh(
            "stat -c '%t:%T %a' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty"
        ),
        "1:3 666\n1:5 666\n1:7 666\n1:8 666\n1:9 666\n5:0 666"
    );
    // Masked paths are empty, read-only ones refuse.
    assert_eq!(container.sh("for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do [ ! -e $f ] || head -c 1 $f; done; ls /sys/firmware /proc/scsi 2>/dev/null; true"), "/sys/firmware:");
    let tried =
        container.try_sh("echo 1 > /proc/sys/kernel/panic; mkdir $(dirname $(find /sys/fs/cgroup/ -name cgroup.procs | head -n 1))/x; touch /sys/x");
    assert_eq!(
        tried.errors().matches("Read-only file system").count()
            + tried.errors().matches("Permission denied").count(),
        3,
        "{tried}"
    );
    // What other runtimes mount above the hierarchies of version 1 is theirs to say.
    if std::env::var("RVM_RUNTIME").map_or(true, |name| name == "rvm") {
        let above = container.try_sh("mkdir /sys/fs/cgroup/x");
        assert!(above.errors().contains("Read-only file system"), "{above}");
    }

    // Namespaces of its own: it is alone in its process namespace, and its first process is number 1.
    assert_eq!(
        container.sh("cat /proc/1/cmdline | tr '\\0' ' '"),
        "tail -f /dev/null"
    );
    assert_eq!(
        container.sh("set -- /proc/[0-9]*; echo $#"),
        "2",
        "tail and sh"
    );

    // Its files.
    assert_eq!(container.sh("cat /etc/hostname; hostname"), "self\nself");
    let hosts = container.sh("cat /etc/hosts");
    assert!(hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");
    assert!(
        hosts.contains(&format!("{}\tself", container.address())),
        "{hosts}"
    );
    let servers = container.sh("cat /etc/resolv.conf");
    let of_host = judge("cat", ["/etc/resolv.conf"]);
    let usable = of_host.lines().filter(|line| {
        line.starts_with("nameserver") && !line.contains("127.") && !line.contains("::")
    });
    for server in usable {
        assert!(servers.contains(server), "{servers}\nhost:\n{of_host}");
    }
    assert!(servers.contains("nameserver"), "{servers}");
    container.sh("echo '192.0.2.1 added' >> /etc/hosts && grep -q added /etc/hosts");

    // The guest's disks are behind the device list, even for root who can make their nodes.
    let disk = container.try_sh("mknod /tmp/disk b $(sed -n 's/^ *\\([0-9]*\\) *\\([0-9]*\\) .*/\\1 \\2/p' /proc/partitions | head -1); head -c 1 /tmp/disk");
    assert!(disk.errors().contains("Operation not permitted"), "{disk}");
}
