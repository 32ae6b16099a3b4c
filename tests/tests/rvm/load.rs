//! `rvm load` takes an image in each form that other tools write.

use crate::support::image::Layout;
use crate::support::process::judge;
use crate::support::{Host, Process, archive};

#[test]
fn every_form_of_an_image_gives_the_same_one() {
    let host = &Host::empty().load(&["busybox"]);
    let busybox = host.rvm(["images", "-q", "--no-trunc"]).wait().success();
    let layout = Layout::of_busybox(host, "as-layout");
    assert_eq!(
        host.rvm(["load", "-i", layout.path()]).wait().success(),
        "Loaded image: as-layout:latest\n"
    );
    let docker = host.folder().join("tmp/as-docker.tar");
    let from = format!("oci-archive:{}", archive("busybox").display());
    let to = format!("docker-archive:{}:as-docker:1.0", docker.display());
    judge("skopeo", ["--insecure-policy", "copy", "-q", &from, &to]);
    let loaded = host
        .rvm(["load", "--input", docker.to_str().expect("UTF-8")])
        .wait()
        .success();
    assert_eq!(loaded, "Loaded image: as-docker:1.0\n");
    let mut command = host.rvm_command(["load"]);
    command.stdin(std::fs::File::open(layout.archive()).expect("archive"));
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    assert_eq!(
        Process::start_as_is(command).wait_exit().success(),
        "Loaded image: as-layout:latest\n"
    );

    let table = host.rvm(["images", "--no-trunc"]).wait().success();
    let id = |name: &str, tag: &str| {
        let mut rows = table
            .lines()
            .map(|row| row.split_whitespace().collect::<Vec<_>>());
        rows.find(|row| row[..2] == [name, tag])
            .map(|row| row[2].to_owned())
            .unwrap_or_else(|| panic!("no {name}:{tag} in\n{table}"))
    };
    assert!(table.starts_with("REPOSITORY"), "{table}");
    let first = id("busybox", "latest");
    assert!(busybox.contains(&first));
    assert_eq!(id("as-layout", "latest"), first);
    // docker save rewrites the configuration, and with it the id: it is another image of the same layer.
    id("as-docker", "1.0");
}
