//! Bringing a layer in takes little memory, however large the layer is.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use common::layers::noise;
use common::{layout, tempdir};
use flate2::Compression;
use flate2::write::GzEncoder;
use rvm_images::{ImportOptions, LoadOptions, Store};
use serde_json::json;
use tar::{Builder, EntryType, Header};

const ACTION: &str = "RVM_IMAGES_TEST_MEMORY";
/// What the issue allows, in KiB.
const MOST: u64 = 100 << 10;

/// Not a test of its own: what the measured process runs.
#[test]
fn child() {
    let Ok(action) = std::env::var(ACTION) else {
        return;
    };
    let (action, path, root): (String, String, String) = serde_json::from_str(&action).unwrap();
    let store = Store::open(root).unwrap();
    match &*action {
        "load" => {
            store.load(path.as_ref(), &LoadOptions::default()).unwrap();
            let image = store.resolve("test").unwrap();
            store.layer_images(&image, 1).unwrap();
        }
        _ => drop(
            store
                .import(File::open(path).unwrap(), &ImportOptions::default())
                .unwrap(),
        ),
    }
}

/// The most memory that a process needed for it, in KiB.
fn measure(action: &str, path: &Path, root: &Path) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(ACTION, json!([action, path, root]).to_string())
        .spawn()
        .unwrap();
    // Its peak is the kernel's to tell as long as nobody has waited for it.
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(peak.unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return most;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn header(name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_path(name).unwrap();
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(1_600_000_000);
    header.set_cksum();
    header
}

/// A layer of so many files, each of so many bytes.
fn tar(to: impl Write, files: u64, size: usize) {
    let mut builder = Builder::new(to);
    for i in 0..files {
        let data = noise(size, i);
        let name = format!(
            "usr/share/folder-{}/a-file-with-a-name-of-the-usual-length-{i}",
            i / 100
        );
        builder
            .append(&header(&name, size as u64), &data[..])
            .unwrap();
    }
    builder.into_inner().unwrap().flush().unwrap();
}

#[test]
fn a_large_layer_takes_little_memory() {
    let megabytes = std::env::var("RVM_TEST_MEGABYTES").map_or(32, |text| text.parse().unwrap());
    let folder = tempdir();
    let path = |name: &str| folder.path().join(name);
    let mut plain = Vec::new();
    tar(&mut plain, megabytes, 1 << 20);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let image = path("layout");
    let layer = (format!("{}+gzip", layout::TAR), gzip, plain.clone());
    let manifest = layout::image(&image, &[layer]);
    layout::index(&image, vec![layout::with_name(manifest, "test:latest")]);
    std::fs::write(path("plain.tar"), &plain).unwrap();
    for (action, from) in [("load", image), ("import", path("plain.tar"))] {
        let peak = measure(action, &from, &path(action));
        println!("{action} of {megabytes} MB: {} MiB", peak >> 10);
        assert!(peak < MOST, "{action}: {peak} KiB");
    }
}

/// Names and attributes stay in memory until a layer's end: a third of a million files are within the limit.
#[test]
fn a_layer_of_many_files_takes_little_memory() {
    let files: u64 = std::env::var("RVM_TEST_FILES").map_or(20_000, |text| text.parse().unwrap());
    let folder = tempdir();
    let path = folder.path().join("many.tar");
    tar(
        std::io::BufWriter::new(File::create(&path).unwrap()),
        files,
        1,
    );
    let peak = measure("import", &path, &folder.path().join("store"));
    println!("{files} files: {} MiB", peak >> 10);
    assert!(peak < (10 << 10) + files * 300 / 1024, "{peak} KiB");
}
