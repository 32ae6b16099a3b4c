//! Images between `skopeo`, a real registry, `rvm` and `umoci`.

use rvm_images::registry::PullOptions;
use rvm_images::{LoadOptions, Reference, Silent, Store};

use crate::common::layers::{gzip, layer, noise};
use crate::common::{chain, is_root, layout, run, str, tempdir};
use crate::real::{Access, Registry};

/// A layout with an image of two layers, `latest`.
pub fn fill(folder: &std::path::Path) {
    let lower = layer()
        .dir("./")
        .dir("etc/")
        .file("etc/name", noise(5_000, 1))
        .file("gone", noise(10, 2))
        .done();
    let upper = layer()
        .dir("./")
        .file(".wh.gone", "")
        .file("etc/name", noise(7_000, 3))
        .done();
    let layers: Vec<_> = [lower, upper]
        .into_iter()
        .map(|tar| (format!("{}+gzip", layout::TAR), gzip(&tar), tar))
        .collect();
    let manifest = layout::image(folder, &layers);
    layout::index(folder, vec![layout::with_name(manifest, "latest")]);
}

#[test]
fn what_skopeo_pushed_is_pulled_and_found_by_tag_and_digest() {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    fill(&layout);
    let registry = Registry::start(Access::Open);
    registry.fill(&layout, "test/image:1", &[]);
    let store = Store::open(folder.path().join("store")).unwrap();
    let name: Reference = format!("{}/test/image:1", registry.host).parse().unwrap();
    let first = store.pull(&name, &PullOptions::default(), &Silent).unwrap();
    let again = store.pull(&name, &PullOptions::default(), &Silent).unwrap();
    assert!(first.is_newer && !again.is_newer);
    let by_digest = format!("{}/test/image@{}", registry.host, first.digest);
    assert_eq!(store.resolve(&by_digest).unwrap().id, first.id);
    let missing = format!("{}/test/image:2", registry.host).parse().unwrap();
    let err = store
        .pull(&missing, &PullOptions::default(), &Silent)
        .unwrap_err();
    assert!(chain(&err).contains("manifest unknown"), "{}", chain(&err));
}

#[test]
fn what_rvm_pushed_is_what_umoci_unpacks() {
    if !is_root("what_rvm_pushed_is_what_umoci_unpacks") {
        return;
    }
    let folder = tempdir();
    let path = |name: &str| str(&folder.path().join(name)).to_owned();
    fill(&folder.path().join("layout"));
    let registry = Registry::start(Access::Open);
    let store = Store::open(folder.path().join("store")).unwrap();
    let name: Reference = format!("{}/pushed:1", registry.host).parse().unwrap();
    let options = LoadOptions {
        name: Some(name.clone()),
        ..LoadOptions::default()
    };
    store.load(&folder.path().join("layout"), &options).unwrap();
    let pushed = store.push(&name, &Silent).unwrap();
    let remote = format!("docker://{name}");
    let inspected = run("skopeo", &["inspect", "--tls-verify=false", &remote]);
    assert!(
        inspected.contains(&pushed.digest.to_string()),
        "{inspected}"
    );
    run(
        "skopeo",
        &[
            "copy",
            "-q",
            "--src-tls-verify=false",
            &remote,
            &format!("oci:{}:x", path("back")),
        ],
    );
    run(
        "umoci",
        &[
            "unpack",
            "--image",
            &format!("{}:x", path("back")),
            &path("theirs"),
        ],
    );
    run(
        "umoci",
        &[
            "unpack",
            "--image",
            &format!("{}:latest", path("layout")),
            &path("ours"),
        ],
    );
    run(
        "diff",
        &[
            "-r",
            "--no-dereference",
            &path("theirs/rootfs"),
            &path("ours/rootfs"),
        ],
    );
    // A second push has nothing to send.
    store.push(&name, &Silent).unwrap();
}

#[test]
fn a_registry_with_passwords_refuses_who_has_none() {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    fill(&layout);
    let registry = Registry::start(Access::Password);
    registry.fill(&layout, "private:1", &["--dest-creds", "user:secret"]);
    let store = Store::open(folder.path().join("store")).unwrap();
    let name: Reference = format!("{}/private:1", registry.host).parse().unwrap();
    let err = store
        .pull(&name, &PullOptions::default(), &Silent)
        .unwrap_err();
    assert!(
        chain(&err).contains("pull access denied"),
        "{}",
        chain(&err)
    );
    let credentials = |secret: &str| rvm_images::registry::Credentials {
        user: "user".to_owned(),
        secret: secret.to_owned(),
    };
    rvm_images::registry::login(&registry.host, &credentials("secret")).unwrap();
    rvm_images::registry::login(&registry.host, &credentials("wrong")).unwrap_err();
}
