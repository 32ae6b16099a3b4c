//! Containers are listed and described as with Docker.

use serde_json::Value;

use crate::needs_container;
use crate::support::image::Layout;
use crate::support::{Host, in_microvms, isolation};

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn containers_are_listed_and_described_in_dockers_words() {
    needs_container!();
    let host = Host::empty().load(&["busybox"]);
    let image = Layout::of_busybox(&host, "labelled").configure(&[
        "--config.label=kind=test",
        "--config.label=com.example.part=a b",
        "--config.exposedports=81/tcp",
        "--config.exposedports=80/tcp",
        "--config.entrypoint=tail",
        "--config.entrypoint=-f",
        "--config.cmd=/dev/null",
    ]);
    host.rvm(["load", "-q", "-i", image.path()])
        .wait()
        .success();
    let rvm = |args: &[&str]| host.rvm(args.to_vec()).wait().success();
    assert_eq!(
        rvm(&["ps"]),
        "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
    );
    let run = ["run", "--name", "over", "--network", "none", "busybox"];
    let end = host
        .rvm(run.into_iter().chain(["sh", "-c", "exit 3"]))
        .wait();
    assert_eq!(end.code(), 3, "{end}");
    let web = host.detached(["--name", "web", "-p", "127.0.0.1::80", "labelled"]);
    lists(&host, &web.id);
    described(&host, &web.id);
}

fn lists(host: &Host, id: &str) {
    let rvm = |args: &[&str]| host.rvm(args.to_vec()).wait().success();
    let port = rvm(&[
        "inspect",
        "-f",
        r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#,
        "web",
    ]);
    let ports = format!("81/tcp, 127.0.0.1:{}->80/tcp", port.trim());
    // Docker's columns: three blanks behind the longest cell, ten columns at least.
    let table = rvm(&["ps", "--no-trunc", "-a"]);
    let rows = lines(&table);
    for (row, words) in [
        (
            1,
            vec![id, "labelled", "\"tail -f /dev/null\"", "Up ", &ports],
        ),
        (
            2,
            vec!["busybox", "\"sh -c 'exit 3'\"", "Exited (3) ", "over"],
        ),
    ] {
        for word in words {
            assert!(rows[row].contains(word), "no {word} in {table}");
        }
        let column = rows[0].find("NAMES").expect("names");
        assert_eq!(&rows[row][column..], ["", "web", "over"][row], "{table}");
    }
    // Their times go on between the two.
    let untimed = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Ports}}\t{{.Names}}";
    let options = ["-a", "--no-trunc", "--format", untimed];
    assert_eq!(
        rvm(&[&["container", "ls"], &options[..]].concat()),
        rvm(&[&["ps"], &options[..]].concat())
    );
    assert_eq!(rvm(&["ps", "-q", "--no-trunc"]), format!("{id}\n"));
    assert_eq!(rvm(&["ps", "-qf", "name=web"]), format!("{}\n", &id[..12]));

    let names = |args: &[&str]| {
        let text = rvm(&[&["ps", "--format", "{{.Names}}"], args].concat());
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for (args, found) in [
        (&[][..], &["web"][..]),
        (&["-a"], &["web", "over"]),
        (&["-l"], &["web"]),
        (&["-n", "2"], &["web", "over"]),
        (&["-n", "-1"], &["web"]),
        (&["-a", "-f", &format!("id={}", &id[..6])], &["web"]),
        (&["-af", "name=^/ov.r$"], &["over"]),
        (
            &["-a", "-f", "name=web", "-f", "name=over"],
            &["web", "over"],
        ),
        (&["-a", "-f", "label=kind"], &["web"]),
        (&["-a", "-f", "label=kind", "-f", "label=kind=no"], &[]),
        (&["-f", "status=exited"], &["over"]),
        (
            &["-f", "status=exited", "-f", "status=running"],
            &["web", "over"],
        ),
        (&["-a", "-f", "exited=3"], &["over"]),
        (&["-a", "-f", "exited=0"], &[]),
        (&["-a", "-f", "before=web"], &["over"]),
        (&["-a", "-f", "since=over"], &["web"]),
        (&["-a", "-f", "ancestor=labelled"], &["web"]),
        (&["-a", "-f", "ancestor=nothing"], &[]),
        (&["-a", "-f", "expose=80-90"], &["web"]),
        (&["-a", "-f", "expose=80/udp"], &[]),
        (&["-a", "-f", &format!("publish={}", port.trim())], &["web"]),
        (&["-a", "-f", "publish=80"], &[]),
        (&["-a", "-f", "network=none"], &["over"]),
        (&["-a", "-f", "health=none"], &["web", "over"]),
        (&["-a", "-f", "volume=data"], &[]),
    ] {
        assert_eq!(names(args), found, "{args:?}");
    }
    for (filter, words) in [
        ("web", "bad format of filter (expected name=value)"),
        ("colour=red", "invalid filter 'colour'"),
        ("status=tired", "invalid filter 'status=tired'"),
        ("exited=x", "invalid filter 'exited=x'"),
        ("before=nobody", "No such container: nobody"),
        ("publish=90-80", "invalid filter 'publish=90-80'"),
    ] {
        host.rvm(["ps", "-f", filter]).wait().refused(1, &[words]);
    }

    let own = rvm(&[
        "ps",
        "--format",
        r#"table {{.Names}}\t{{.Label "com.example.part"}}\t{{.State}}\t{{.Networks}}"#,
    ]);
    assert_eq!(
        own,
        "NAMES     part      STATE     NETWORKS\nweb       a b       running   bridge\n"
    );
    let json = rvm(&["ps", "--format", "json"]);
    let keys = host.start("jq", &["-r", "keys_unsorted | join(\" \")"]);
    let keys = keys.wait_with(json.as_bytes()).success();
    assert_eq!(
        keys.trim(),
        "Command CreatedAt ID Image Labels LocalVolumes Mounts Names Networks Ports RunningFor Size State Status"
    );
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["Labels"], "com.example.part=a b,kind=test");
    let size = rvm(&["ps", "-s", "--format", "{{.Size}}"]);
    assert!(
        size.contains("B (virtual ") && size.ends_with("B)\n"),
        "{size}"
    );
}

fn described(host: &Host, id: &str) {
    let rvm = |args: &[&str]| host.rvm(args.to_vec()).wait().success();
    // Without a guest there is no limit where none was asked for.
    let memory = if in_microvms() { 256 << 20 } else { 0 };
    for (format, value) in [
        (
            "{{.Id}} {{.Name}} {{.State.Status}}",
            format!("{id} /web running"),
        ),
        (
            "{{.Path}} {{json .Args}} {{.Config.Entrypoint}} {{.Config.Cmd}}",
            "tail [\"-f\",\"/dev/null\"] [tail -f] [/dev/null]".to_owned(),
        ),
        (
            r#"{{index .Config.Labels "kind"}}{{with .State.Health}}{{.Status}}{{else}} unchecked{{end}}"#,
            "test unchecked".to_owned(),
        ),
        (
            "{{range $port, $at := .NetworkSettings.Ports}}{{$port}}{{if $at}}={{(index $at 0).HostIp}}{{end}};{{end}}",
            "80/tcp=127.0.0.1;81/tcp;".to_owned(),
        ),
        (
            "{{range .NetworkSettings.Networks}}{{eq .IPAddress $.NetworkSettings.IPAddress}}{{end}}",
            "true".to_owned(),
        ),
        (
            "{{.HostConfig.NetworkMode}} {{.HostConfig.Memory}} {{.HostConfig.CapAdd}} {{.Mounts}}",
            format!("bridge {memory} [] []"),
        ),
        ("{{.Platform}} {{.RestartCount}}", "linux 0".to_owned()),
        ("{{.HostConfig.Isolation}}", isolation()),
    ] {
        let format = ["inspect", "--format", format, "web"];
        assert_eq!(rvm(&format), value + "\n", "{format:?}");
    }
    // The process in which the container is.
    let pid = rvm(&["inspect", "-f", "{{.State.Pid}}", "web"]);
    let program = std::fs::read_link(format!("/proc/{}/exe", pid.trim())).expect("a process");
    let expected = if in_microvms() { "rvm-vmm" } else { "tail" };
    assert!(program.ends_with(expected), "{}", program.display());
    let listed = rvm(&["ps", "-f", "name=web", "--format", "{{.Isolation}}"]);
    assert_eq!(listed.trim(), isolation());
    let text = rvm(&["container", "inspect", "-s", "web", "over"]);
    assert!(text.starts_with("[\n    {\n        \"Id\": "), "{text}");
    let filter = "map([.Name, .State.ExitCode, .State.Running, (.SizeRootFs > 0)]), (.[0].State | has(\"Health\"))";
    let judged = host
        .start("jq", &["-c", filter])
        .wait_with(text.as_bytes())
        .success();
    assert_eq!(
        judged,
        "[[\"/web\",0,true,true],[\"/over\",3,false,true]]\nfalse\n"
    );
    // Containers go before images, unless it is said what is meant.
    let tags = rvm(&["inspect", "-f", "{{.RepoTags}}", "labelled"]);
    assert_eq!(tags, "[labelled:latest]\n");
    let unknown = host.rvm(["inspect", "web", "nothing"]).wait();
    assert_eq!(unknown.code(), 1, "{unknown}");
    assert_eq!(unknown.errors(), "rvm: No such object: nothing.\n");
    assert!(unknown.text().contains(id), "{unknown}");
    for (kind, name, words) in [
        ("container", "labelled", "No such container: labelled"),
        ("image", "web", "No such image: web"),
    ] {
        let refused = host.rvm(["inspect", "--type", kind, name]).wait();
        assert_eq!((refused.code(), refused.text()), (1, "[]\n".to_owned()));
        assert!(refused.errors().contains(words), "{refused}");
    }
    for (format, words) in [
        ("{{.Nothing}}", "map has no entry for key \"Nothing\""),
        ("{{.Id", "unclosed action"),
    ] {
        host.rvm(["inspect", "-f", format, "web"])
            .wait()
            .refused(1, &[words]);
    }
}
