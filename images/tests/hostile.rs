//! Layers that mean harm are refused in one sentence that names the entry, and leave the store as it was.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::layers::{LayerBuilder, layer};
use common::{chain, layout, tempdir};
use rvm_images::{Limits, LoadOptions, Store};
use tar::EntryType;

/// Loads an image of `layer` and expects all of `words` in the refusal.
fn refused(layer: LayerBuilder, words: &[&str]) {
    refused_within(Limits::default(), layer.done(), words);
}

fn refused_within(limits: Limits, layer: Vec<u8>, words: &[&str]) {
    let folder = tempdir();
    let image = folder.path().join("layout");
    layout::simple(&image, &[layer]);
    let root = folder.path().join("store");
    let store = Store::open(&root).unwrap();
    let before = files(&root);
    let err = store
        .load(&image, &LoadOptions { name: None, limits })
        .unwrap_err();
    let message = chain(&err);
    for word in words {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
    assert!(!message.contains('\n'), "{message}");
    assert!(store.list().unwrap().is_empty());
    assert_eq!(files(&root), before);
}

fn files(root: &std::path::Path) -> Vec<String> {
    let list = common::run(
        "find",
        &[common::str(root), "-type", "f", "-not", "-name", "*lock"],
    );
    let mut list: Vec<_> = list.lines().map(str::to_owned).collect();
    list.sort();
    list
}

#[test]
fn parent_components() {
    for name in ["../evil", "a/../../evil", "a/..", "..", "/../evil"] {
        refused(
            layer().dir("./").file(name, "x"),
            &[name, "leaves the image's root"],
        );
    }
}

#[test]
fn hard_links_to_outside() {
    refused(
        layer().link("evil", "../../etc/shadow"),
        &["`evil`", "../../etc/shadow", "leaves the image's root"],
    );
    refused(
        layer().link("evil", "/etc/shadow"),
        &["`evil`", "`/etc/shadow`", "not in this layer"],
    );
    refused(
        layer()
            .symlink("out", "/../../etc")
            .link("evil", "out/shadow"),
        &["`evil`", "not in this layer"],
    );
    refused(layer().dir("d").link("evil", "d"), &["`evil`", "directory"]);
    refused(
        layer().file(".wh.f", "").link("evil", "f"),
        &["`evil`", "not in this layer"],
    );
}

#[test]
fn paths_through_what_is_no_directory() {
    refused(
        layer()
            .device(EntryType::Char, "null", 1, 3)
            .file("null/evil", "x"),
        &["`null/evil`", "`null`"],
    );
    refused(layer().file("f", "x").file("f/evil", "x"), &["`f/evil`"]);
    refused(
        layer()
            .symlink("a", "b")
            .symlink("b", "a")
            .file("a/evil", "x"),
        &["`a/evil`", "loop"],
    );
}

#[test]
fn a_root_that_is_no_directory() {
    refused(layer().symlink("./", "/etc"), &["`./`", "root"]);
    refused(layer().file("/", "x"), &["`/`", "root"]);
}

#[test]
fn names_that_linux_cannot_have() {
    refused(layer().file(&"n".repeat(256), "x"), &["nnnn", "255"]);
    refused(
        layer().file(&format!("{}/f", "n".repeat(256)), "x"),
        &["255"],
    );
    refused(layer().file(&"n/".repeat(3000), "x"), &["4096"]);
    refused(layer().file(".wh.", ""), &["`.wh.`", "whiteout"]);
    refused(layer().file("a/.wh...", ""), &["`a/.wh...`", "whiteout"]);
    refused(layer().symlink("s", &"t".repeat(5000)), &["`s`", "4095"]);
}

#[test]
fn entries_that_no_layer_holds() {
    refused(
        layer().raw(EntryType::new(b'D'), b"dump", b"", b"", |_| {}),
        &["`dump`", "type `D`"],
    );
    refused(
        layer().device(EntryType::Char, "dev", 5000, 0),
        &["`dev`", "5000:0"],
    );
    let huge = vec![b'x'; 70_000];
    refused(
        layer()
            .pax(&[("SCHILY.xattr.user.x", &huge)])
            .file("big", ""),
        &["`big`", "attributes"],
    );
}

#[test]
fn bombs() {
    let limits = Limits {
        bytes: 10_000,
        entries: 3,
        metadata: 10_000,
    };
    let large = layer()
        .file("a", vec![0; 6000])
        .file("bomb", vec![0; 6000])
        .done();
    refused_within(limits, large, &["`bomb`", "10000 bytes"]);
    let many = layer()
        .file("a", "")
        .file("b", "")
        .file("c", "")
        .file("bomb", "")
        .done();
    refused_within(limits, many, &["`bomb`", "3"]);
    // A hole costs nothing here, but would where somebody copies it.
    let sparse = layer().pax(&[
        ("GNU.sparse.map", b"0,1"),
        ("GNU.sparse.size", b"1000000000000"),
    ]);
    refused_within(
        limits,
        sparse.file("bomb", "x").done(),
        &["`bomb`", "10000 bytes"],
    );
    // What a name carries is kept in memory.
    let value = [7; 6000];
    let attributes = layer()
        .pax(&[("SCHILY.xattr.user.a", &value)])
        .file("a", "")
        .pax(&[("SCHILY.xattr.user.b", &value)])
        .file("bomb", "");
    refused_within(
        limits,
        attributes.done(),
        &["`bomb`", "names and attributes"],
    );
    // Compressed, a bomb is small until it goes off.
    let zeros = layer().file("bomb", vec![0; 64 << 20]).done();
    let gzip = common::layers::gzip(&zeros);
    let zstd = zstd::encode_all(&zeros[..], 1).unwrap();
    for small in [gzip, zstd] {
        assert!(small.len() < 1 << 20);
        refused_within(limits, small, &["`bomb`", "10000 bytes"]);
    }
    // Zeros behind the archive's end are hashed, but not without end.
    let mut tail = layer().done();
    tail.extend(vec![0; 40_000]);
    refused_within(limits, tail, &["limit"]);
}

#[test]
fn an_archive_that_expands_without_end() {
    let folder = tempdir();
    let store = Store::open(folder.path().join("store")).unwrap();
    let archive = layer().file("blobs/sha256/x", vec![0; 1 << 20]).done();
    let options = LoadOptions {
        limits: Limits {
            bytes: 100_000,
            ..Limits::default()
        },
        ..LoadOptions::default()
    };
    let archive = common::layers::gzip(&archive);
    let err = chain(&store.load_stream(&archive[..], &options).unwrap_err());
    assert!(err.contains("holds more than 100000 bytes"), "{err}");
}

#[test]
fn sizes_that_lie() {
    let lie = |name: &[u8], size| {
        layer().raw(EntryType::Regular, name, b"", b"x", |header| {
            header.set_size(size)
        })
    };
    refused(lie(b"cut", 1 << 30), &["cut", "ends in the middle"]);
    refused(lie(b"cut", u64::MAX >> 1), &["cut"]);
    let sparse = |map: &[u8]| {
        layer()
            .pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", b"100")])
            .file("s", "xy")
    };
    for map in [
        &b"0,1"[..],
        b"0,1,0,1",
        b"99,2",
        b"0",
        b"0,2,1",
        b"1,18446744073709551615",
        b"-1,2",
        b"",
    ] {
        refused(sparse(map), &["`s`", "sparse"]);
    }
}

#[test]
fn what_speaks_to_overlayfs_is_left_out() {
    let folder = tempdir();
    let image = folder.path().join("layout");
    let tar = layer()
        .dir("./")
        .pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")])
        .dir("d")
        .done();
    layout::simple(&image, &[tar]);
    let store = Store::open(folder.path().join("store")).unwrap();
    store.load(&image, &LoadOptions::default()).unwrap();
    let layers = store
        .layer_images(&store.resolve("test").unwrap(), 1)
        .unwrap();
    let bytes = std::fs::read(&layers[0].path).unwrap();
    assert!(
        !bytes
            .windows(16)
            .any(|window| window == b"overlay.redirect")
    );
}
