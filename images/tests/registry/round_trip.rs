//! Images between `skopeo`, a real registry, `rvm` and `umoci`.

use std::path::Path;

use rvm_images::registry::PullOptions;
use rvm_images::{LoadOptions, Reference, Silent, Store};
use tar::EntryType;

use crate::common::layers::{gzip, layer, noise};
use crate::common::mounts::Mounts;
use crate::common::snapshot::{assert_same, snapshot};
use crate::common::{chain, is_root, layout, run, str, tempdir};
use crate::real::{Access, Registry};

/// A layout with an image of two layers, `latest`.
pub fn fill(folder: &Path) {
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

/// Something of every kind that a push could lose.
fn fill_with_all(folder: &Path) {
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let lower = layer()
        .dir_as("./", 0o755, 0, 0)
        .dir_as("home", 0o750, 1000, 1001)
        .file_as("home/secret", noise(5_000, 1), 0o600, 1000, 1001)
        .file_as("su", "#!", 0o6755, 0, 0)
        .link("home/su", "su")
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .file_as("ping", noise(10_000, 2), 0o755, 0, 0)
        .pax(&[
            ("SCHILY.xattr.user.note", b"of a directory"),
            ("mtime", b"1234567890.5"),
        ])
        .dir_as("noted", 0o1777, 5, 6)
        .device(EntryType::Char, "null", 1, 3)
        .fifo("pipe")
        .symlink("link", "home/secret")
        .dir("opaque")
        .file("opaque/old", "old")
        .file("gone", noise(10, 2))
        .done();
    let upper = layer()
        .dir_as("./", 0o711, 7, 8)
        .file(".wh.gone", "")
        .dir_as("opaque", 0o700, 9, 9)
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "new")
        .file_as("home/secret", noise(7_000, 3), 0o640, 1002, 1003)
        .done();
    let layers = [("+gzip", gzip(&lower), lower), ("", upper.clone(), upper)];
    let layers = layers.map(|(kind, blob, tar)| (format!("{}{kind}", layout::TAR), blob, tar));
    let manifest = layout::image(folder, &layers);
    layout::index(folder, vec![layout::with_name(manifest, "latest")]);
}

#[test]
fn what_rvm_pushed_is_what_umoci_unpacks() {
    if !is_root("what_rvm_pushed_is_what_umoci_unpacks") {
        return;
    }
    let folder = tempdir();
    let path = |name: &str| str(&folder.path().join(name)).to_owned();
    fill_with_all(&folder.path().join("layout"));
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
    let back = format!("oci:{}:x", path("back"));
    run(
        "skopeo",
        &["copy", "-q", "--src-tls-verify=false", &remote, &back],
    );
    let back = format!("{}:x", path("back"));
    run("umoci", &["unpack", "--image", &back, &path("bundle")]);

    let theirs = snapshot(&folder.path().join("bundle/rootfs"), true);
    let image = store.resolve(&name.to_string()).unwrap();
    let mut mounts = Mounts::new(&folder.path().join("mounts"));
    let ours = mounts.overlay(&store.layer_images(&image, 9).unwrap());
    assert_same(&snapshot(&ours, true), &theirs);

    // A second push has nothing to send.
    let before = registry.log().matches("\"PUT /v2/pushed/blobs/").count();
    assert_eq!(before, image.layers.len() + 1);
    store.push(&name, &Silent).unwrap();
    let after = registry.log().matches("\"PUT /v2/pushed/blobs/").count();
    assert_eq!(after, before);
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
