//! Pulls that are killed at random moments: `RVM_TEST_KILLS` says how many of them.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rvm_images::registry::PullOptions;
use rvm_images::{Digest, Reference, Silent, Store};

use crate::common::layers::{gzip, layer, noise};
use crate::common::{layout, run, str, tempdir};
use crate::faulty::{Fault, Faulty};

const FOLDER: &str = "RVM_IMAGES_TEST_PULLED";
const NAME: &str = "RVM_IMAGES_TEST_NAME";

/// Not a test of its own: what the killed process runs.
#[test]
fn child() {
    if let (Ok(folder), Ok(name)) = (std::env::var(FOLDER), std::env::var(NAME)) {
        let store = Store::open(folder).unwrap();
        let name: Reference = name.parse().unwrap();
        store.pull(&name, &PullOptions::default(), &Silent).unwrap();
        store.remove(&name.to_string()).unwrap();
    }
}

#[test]
fn a_pull_that_is_killed_at_any_moment_leaves_a_correct_store() {
    let kills: u32 = std::env::var("RVM_TEST_KILLS").map_or(50, |text| text.parse().unwrap());
    let folder = tempdir();
    let layout = folder.path().join("layout");
    let layers: Vec<_> = (0..3u64)
        .map(|i| {
            let tar = layer()
                .dir("./")
                .file(&format!("file-{i}"), noise(700_000, i))
                .done();
            (format!("{}+gzip", layout::TAR), gzip(&tar), tar)
        })
        .collect();
    let manifest: Digest = layout::image(&layout, &layers)["digest"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let server = Faulty::start(&layout, manifest, Fault::None);
    let name = format!("{}/test/image:1", server.host);
    let root = folder.path().join("store");

    let start = Instant::now();
    assert!(spawn(&root, &name).wait().unwrap().success());
    let whole = start.elapsed();

    for i in 0..kills {
        let mut child = spawn(&root, &name);
        let share = f64::from(u32::from(noise(1, u64::from(i) + 100)[0])) / 255.0;
        std::thread::sleep(whole.mul_f64(share) + Duration::from_micros(u64::from(i)));
        child.kill().unwrap();
        child.wait().unwrap();
        // Every file that is visible is whole, and every name leads to all of its image.
        for blob in std::fs::read_dir(root.join("content/blobs/sha256")).unwrap() {
            let blob = blob.unwrap().path();
            let digest = Digest::of(&std::fs::read(&blob).unwrap());
            assert_eq!(blob.file_name().unwrap().to_str().unwrap(), digest.hex());
        }
        for file in std::fs::read_dir(root.join("layers")).unwrap() {
            let path = file.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "erofs")
            {
                run("fsck.erofs", &[str(&path)]);
            }
        }
        let store = Store::open(&root).unwrap();
        for listed in store.list().unwrap() {
            assert_eq!(store.layer_images(&listed.image, 9).unwrap().len(), 3);
        }
    }
    let store = Store::open(&root).unwrap();
    let reference: Reference = name.parse().unwrap();
    store
        .pull(&reference, &PullOptions::default(), &Silent)
        .unwrap();
    let image = store.resolve(&name).unwrap();
    assert_eq!(store.layer_images(&image, 9).unwrap().len(), 3);
    store.remove(&name).unwrap();
    let names = |folder: &str| -> Vec<_> {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names("tmp"), [".lock"]);
    assert!(names("layers").is_empty() && names("content/blobs/sha256").is_empty());
}

fn spawn(root: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--nocapture"])
        .env(FOLDER, root)
        .env(NAME, name)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}
