//! A command that is killed at any moment leaves a store that the next one can use.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::layers::{gzip, layer, noise};
use common::{layout, run, str, tempdir};
use rvm_images::{LoadOptions, Store};

const FOLDER: &str = "RVM_IMAGES_TEST_KILLED";

/// Not a test of its own: what the killed process runs.
#[test]
fn child() {
    if let Ok(folder) = std::env::var(FOLDER) {
        let store = Store::open(format!("{folder}/store")).unwrap();
        store
            .load(format!("{folder}/layout").as_ref(), &LoadOptions::default())
            .unwrap();
        let image = store.resolve("test").unwrap();
        store.layer_images(&image, 1).unwrap();
        store.remove("test").unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_a_correct_store() {
    let folder = tempdir();
    let image = folder.path().join("layout");
    let layers: Vec<_> = (0..3u64)
        .map(|i| {
            let tar = layer()
                .dir("./")
                .file(&format!("file-{i}"), noise(300_000, i))
                .done();
            (format!("{}+gzip", layout::TAR), gzip(&tar), tar)
        })
        .collect();
    let manifest = layout::image(&image, &layers);
    layout::index(&image, vec![layout::with_name(manifest, "test:latest")]);

    let start = Instant::now();
    assert!(spawn(folder.path()).wait().unwrap().success());
    let whole = start.elapsed();

    let store = Store::open(folder.path().join("store")).unwrap();
    for i in 0..10 {
        let mut child = spawn(folder.path());
        std::thread::sleep(whole * i / 8 + Duration::from_micros(137 * u64::from(i)));
        child.kill().unwrap();
        child.wait().unwrap();
        // Every file that is visible is whole.
        for blob in std::fs::read_dir(folder.path().join("store/content/blobs/sha256")).unwrap() {
            let blob = blob.unwrap().path();
            let digest = rvm_images::Digest::of(&std::fs::read(&blob).unwrap());
            assert_eq!(blob.file_name().unwrap().to_str().unwrap(), digest.hex());
        }
        for listed in store.list().unwrap() {
            assert_eq!(store.layer_images(&listed.image, 9).unwrap().len(), 3);
        }
    }
    store.load(&image, &LoadOptions::default()).unwrap();
    for layer in store
        .layer_images(&store.resolve("test").unwrap(), 9)
        .unwrap()
    {
        run("fsck.erofs", &[str(&layer.path)]);
    }
    assert_eq!(
        std::fs::read_dir(folder.path().join("store/tmp"))
            .unwrap()
            .count(),
        1,
        "only the lock"
    );
    store.remove("test").unwrap();
    assert_eq!(
        std::fs::read_dir(folder.path().join("store/layers"))
            .unwrap()
            .count(),
        0
    );
}

fn spawn(folder: &std::path::Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}
