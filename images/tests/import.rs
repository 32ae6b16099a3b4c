//! Images made of tarballs, and what images take and give back on the disk.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::HashSet;

use common::layers::{gzip, layer, noise};
use common::{chain, layout, run, str, tempdir};
use rvm_images::{ImportOptions, LoadOptions, Prune, Store};

fn rootfs() -> Vec<u8> {
    layer()
        .dir("./")
        .dir("bin")
        .file_as("bin/sh", noise(50_000, 1), 0o755, 0, 0)
        .done()
}

fn compress(program: &str, folder: &std::path::Path, bytes: &[u8]) -> Vec<u8> {
    let path = folder.join("to-compress");
    std::fs::write(&path, bytes).unwrap();
    let output = std::process::Command::new(program)
        .arg("-c")
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn a_tarball_becomes_an_image_with_the_changes_asked_for() {
    let folder = tempdir();
    let tar = rootfs();
    let xz = [&b"\xfd7zXZ\0"[..], &[0; 100_000]].concat();
    let mut diff_ids = HashSet::new();
    let mut tarballs = vec![
        ("plain", tar.clone()),
        ("gzip", gzip(&tar)),
        ("zstd", zstd::encode_all(&tar[..], 1).unwrap()),
        ("xz", compress("xz", folder.path(), &tar)),
    ];
    match std::process::Command::new("bzip2").arg("-V").output() {
        Ok(_) => tarballs.push(("bzip2", compress("bzip2", folder.path(), &tar))),
        Err(err) => eprintln!("bzip2 is not tried: {err}"),
    }
    for (name, tarball) in tarballs {
        let root = folder.path().join(name);
        let store = Store::open(&root).unwrap();
        let options = ImportOptions {
            reference: Some(format!("imported:{name}").parse().unwrap()),
            message: "from a test".to_owned(),
            changes: ["CMD [\"sh\"]", "ENV A=1", "EXPOSE 80"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            ..ImportOptions::default()
        };
        let imported = store.import(&tarball[..], &options).unwrap();
        let image = store.resolve(&format!("imported:{name}")).unwrap();
        assert_eq!(image.id, imported.id);
        let config = image.config.config().clone().unwrap();
        assert_eq!(config.cmd(), &Some(vec!["sh".to_owned()]));
        assert_eq!(config.env(), &Some(vec!["A=1".to_owned()]));
        let history = &image.config.history().clone().unwrap()[0];
        assert_eq!(history.comment().as_deref(), Some("from a test"));
        assert!(history.created().is_some());
        diff_ids.insert(image.layers[0].diff_id);
        let layers = store.layer_images(&image, 1).unwrap();
        run("fsck.erofs", &[str(&layers[0].path)]);
        // Others read it as well, and every byte is what its digest says.
        let from = format!("oci:{}", str(&root.join("content")));
        let copy = format!("oci:{}:x", str(&folder.path().join(format!("{name}-copy"))));
        let from = format!("{from}:docker.io/library/imported:{name}");
        run("skopeo", &["copy", "-q", &from, &copy]);

        let nameless = ImportOptions::default();
        let imported = store.import(&tarball[..], &nameless).unwrap();
        assert_eq!(imported.references, []);
        assert!(store.resolve(&imported.id.short()).is_ok());
        let err = chain(&store.import(&xz[..], &nameless).unwrap_err());
        assert!(err.contains("xz cannot decompress it: "), "{err}");
        let err = store.import(&tarball[..tarball.len() / 2], &nameless);
        let err = chain(&err.unwrap_err());
        let words = ["the tarball cannot be used", "cannot decompress it"];
        assert!(words.iter().any(|words| err.contains(words)), "{err}");
    }
    assert_eq!(diff_ids.len(), 1);
}

#[test]
fn a_hostile_tarball_is_refused_with_the_entry_s_name() {
    let folder = tempdir();
    let store = Store::open(folder.path().join("store")).unwrap();
    let tar = layer()
        .file("../evil", "x")
        .file("more", noise(1_000_000, 1))
        .done();
    for tar in [compress("xz", folder.path(), &tar), tar] {
        let err = store
            .import(&tar[..], &ImportOptions::default())
            .unwrap_err();
        assert!(chain(&err).contains("`../evil`"), "{}", chain(&err));
    }
    assert!(store.list().unwrap().is_empty());
    assert_eq!(store.usage().unwrap().total, 0);
}

/// Three images: two of one base, and one for itself.
fn three(store: &Store, folder: &std::path::Path) {
    let base = layer().dir("./").file("base", noise(400_000, 1)).done();
    for (name, size, own) in [
        ("one", 100_000, false),
        ("two", 200_000, false),
        ("three", 300_000, true),
    ] {
        let top = layer()
            .dir("./")
            .file(name, noise(size, size as u64))
            .done();
        let base = if own {
            layer().dir("./").file("own", "x").done()
        } else {
            base.clone()
        };
        let layers = [base, top].map(|tar| (layout::TAR.to_owned(), tar.clone(), tar));
        let image = folder.join(name);
        let manifest = layout::image(&image, &layers);
        layout::index(
            &image,
            vec![layout::with_name(manifest, &format!("{name}:1"))],
        );
        store.load(&image, &LoadOptions::default()).unwrap();
    }
}

#[test]
fn what_images_share_counts_once() {
    let folder = tempdir();
    let store = Store::open(folder.path().join("store")).unwrap();
    three(&store, folder.path());
    let usage = store.usage().unwrap();
    let [one, two, three] = &usage.images[..] else {
        panic!("{usage:?}")
    };
    assert_eq!((one.shared, three.shared), (two.shared, 0));
    // A blob and a file system of the base's file.
    assert!((800_000..900_000).contains(&one.shared), "{}", one.shared);
    assert!((200_000..300_000).contains(&one.unique), "{}", one.unique);
    assert_eq!(one.size, one.shared + one.unique);
    assert_eq!(
        usage.total,
        one.shared + one.unique + two.unique + three.unique
    );
    assert_eq!(
        usage.reclaimable(&HashSet::from([one.image.id])),
        usage.total - one.size
    );
    assert_eq!(usage.reclaimable(&HashSet::new()), usage.total);
}

#[test]
fn pruning_takes_what_nobody_needs_and_nothing_else() {
    let folder = tempdir();
    let store = Store::open(folder.path().join("store")).unwrap();
    three(&store, folder.path());
    let one = store.resolve("one:1").unwrap();
    let two = store.resolve("two:1").unwrap();
    store.untag("two:1").unwrap();
    // What is in use stays, with a name or without; a filter may keep more.
    let pruned = store
        .prune(Prune::Dangling, &HashSet::from([two.id]), |_| true)
        .unwrap();
    assert_eq!((pruned.removed.deleted.len(), pruned.reclaimed), (0, 0));
    let pruned = store
        .prune(Prune::Dangling, &HashSet::new(), |_| false)
        .unwrap();
    assert_eq!((pruned.removed.deleted.len(), pruned.reclaimed), (0, 0));

    let usage = store.usage().unwrap();
    let unique = usage
        .images
        .iter()
        .find(|usage| usage.image.id == two.id)
        .unwrap()
        .unique;
    let pruned = store
        .prune(Prune::Dangling, &HashSet::new(), |_| true)
        .unwrap();
    assert_eq!(pruned.removed.deleted, [two.id]);
    assert_eq!(
        (pruned.removed.untagged.len(), pruned.reclaimed),
        (0, unique)
    );

    let pruned = store
        .prune(Prune::All, &HashSet::from([one.id]), |_| true)
        .unwrap();
    assert_eq!(pruned.removed.untagged[0].familiar(), "three:1");
    assert_eq!(store.layer_images(&one, 9).unwrap().len(), 2);
    let before = store.usage().unwrap().total;
    let pruned = store.prune(Prune::All, &HashSet::new(), |_| true).unwrap();
    assert_eq!(pruned.reclaimed, before);
    assert_eq!(store.usage().unwrap().total, 0);
}
