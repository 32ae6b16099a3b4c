//! Archives go between `rvm` and skopeo, in both forms and both directions.

use std::path::Path;
use std::process::Stdio;

use crate::support::process::judge;
use crate::support::{Host, Process, archive, rvm};

fn id(host: &Host, image: &str) -> String {
    let format = ["image", "inspect", "--format", "{{.Id}}", image];
    host.rvm(format).wait().success().trim().to_owned()
}

fn path(host: &Host, name: &str) -> String {
    host.folder().join("tmp").join(name).display().to_string()
}

fn copy(from: &str, to: &str) {
    judge("skopeo", ["--insecure-policy", "copy", "-q", from, to]);
}

/// What `skopeo inspect --config` has for the image's layers.
fn diff_ids(image: &str) -> serde_json::Value {
    let config = judge("skopeo", ["inspect", "--config", image]);
    let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    config["rootfs"]["diff_ids"].clone()
}

fn load_from_stdin(host: &Host, file: &str) -> String {
    let mut command = host.rvm_command(["load"]);
    command.stdin(std::fs::File::open(file).expect("archive"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Process::start_as_is(command).wait_exit().success()
}

#[test]
fn archives_that_skopeo_made_are_loaded() {
    let host = Host::empty();
    let from = format!("oci-archive:{}", archive("nginx").display());
    let wanted = diff_ids(&from);
    for (kind, shown) in [("docker-archive", "web:1.0"), ("oci-archive", "web:2.0")] {
        let file = path(&host, kind);
        copy(&from, &format!("{kind}:{file}:docker.io/library/{shown}"));
        let said = format!("Loaded image: {shown}\n");
        assert_eq!(host.rvm(["load", "-q", "-i", &file]).wait().success(), said);
        host.rvm(["rmi", shown]).wait().success();
        assert_eq!(load_from_stdin(&host, &file), said);
        let format = [
            "image",
            "inspect",
            "--format",
            "{{json .RootFS.Layers}}",
            shown,
        ];
        let layers = host.rvm(format).wait().success();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&layers).expect("JSON"),
            wanted
        );
    }
}

#[test]
fn archives_that_rvm_saved_are_read_by_skopeo_and_by_rvm() {
    let host = Host::empty().load(&["busybox", "nginx"]);
    host.rvm(["tag", "busybox", "registry.example:5000/team/box:1"])
        .wait()
        .success();
    let names = [
        "busybox:latest",
        "registry.example:5000/team/box:1",
        "nginx:latest",
    ];
    let several = path(&host, "several.tar");
    host.rvm(["save", "-o", &several, names[0], names[1], names[2]])
        .wait()
        .success();
    let manifest = judge("tar", ["-xOf", &several, "manifest.json"]);
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    let tags: Vec<_> = manifest
        .as_array()
        .expect("images")
        .iter()
        .map(|image| &image["RepoTags"])
        .collect();
    assert_eq!(
        tags,
        [
            &serde_json::json!(names[..2]),
            &serde_json::json!(names[2..])
        ]
    );
    for name in names {
        let image = name
            .split(['/', ':'])
            .find(|part| ["busybox", "box", "nginx"].contains(part));
        let original = match image {
            Some("nginx") => "nginx",
            _ => "busybox",
        };
        let wanted = diff_ids(&format!("oci-archive:{}", archive(original).display()));
        assert_eq!(
            diff_ids(&format!("docker-archive:{several}:{name}")),
            wanted
        );
        let full = match name.contains('/') {
            true => name.to_owned(),
            false => format!("docker.io/library/{name}"),
        };
        let saved = format!("oci-archive:{several}:{full}");
        assert_eq!(diff_ids(&saved), wanted);
        // Skopeo verifies every byte on the way into a layout.
        let layout = path(&host, "layout");
        copy(&saved, &format!("oci:{layout}:{original}"));
    }

    // Through a pipe, and back through another.
    let piped = path(&host, "piped.tar");
    let rvm = rvm().display().to_string();
    host.judge(
        "sh",
        &["-c", "\"$0\" save nginx | cat > \"$1\"", &rvm, &piped],
    );
    copy(
        &format!("docker-archive:{piped}"),
        &format!("dir:{}", path(&host, "dir")),
    );
    let other = Host::empty();
    assert_eq!(
        load_from_stdin(&other, &piped),
        "Loaded image: nginx:latest\n"
    );
    assert_eq!(id(&other, "nginx"), id(&host, "nginx"));
    let loaded = other.rvm(["load", "-i", &several]).wait().success();
    let said: String = names
        .iter()
        .map(|name| format!("Loaded image: {name}\n"))
        .collect();
    assert_eq!(loaded, said);
    assert_eq!(id(&other, names[1]), id(&host, "busybox"));
    assert_eq!(id(&other, "nginx"), id(&host, "nginx"));

    let refused = path(&host, "refused.tar");
    host.rvm(["save", "-o", &refused, "busybox", "no-such-image"])
        .wait()
        .refused(1, &["No such image: no-such-image:latest"]);
    assert!(!Path::new(&refused).exists());
}
