//! Every form in which images are passed around loads, and a damaged one leaves nothing.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::layers::{gzip, layer, noise};
use common::{chain, layout, run, str, tempdir};
use rvm_images::{Digest, LoadError, LoadOptions, Loaded, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Fixture {
    folder: TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempdir();
        let store = Store::open(folder.path().join("store")).unwrap();
        let image = Self { folder, store };
        let base = layer()
            .dir("./")
            .dir("etc")
            .file("etc/os", "test")
            .file("large", noise(300_000, 1))
            .done();
        layout::simple(
            &image.layout(),
            &[base, layer().dir("./").file("top", "x").done()],
        );
        image
    }

    fn layout(&self) -> PathBuf {
        self.folder.path().join("layout")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self, path: &Path) -> Result<Vec<Loaded>, LoadError> {
        self.store.load(path, &LoadOptions::default())
    }

    fn archive(&self) -> Vec<u8> {
        layout::archive(&self.layout())
    }

    fn save(&self, transport: &str) -> PathBuf {
        let to = self.path("saved.tar");
        run(
            "skopeo",
            &[
                "copy",
                "-q",
                &format!("oci:{}:latest", str(&self.layout())),
                &format!("{transport}:{}:team/app:1.2", str(&to)),
            ],
        );
        to
    }

    fn is_untouched(&self) {
        let root = self.folder.path().join("store");
        let files = run(
            "find",
            &[
                str(&root),
                "-type",
                "f",
                "-not",
                "-name",
                "*lock",
                "-not",
                "-name",
                "oci-layout",
            ],
        );
        assert_eq!(files, "");
        assert_eq!(
            run(
                "find",
                &[
                    str(&root.join("tmp")),
                    "-mindepth",
                    "1",
                    "-not",
                    "-name",
                    ".lock"
                ]
            ),
            ""
        );
    }

    /// Loads what must not load.
    fn refuses(&self, archive: &[u8], words: &[&str]) {
        let err = self
            .store
            .load_stream(archive, &LoadOptions::default())
            .unwrap_err();
        let message = chain(&err);
        for word in words {
            assert!(message.contains(word), "`{word}` is missing in: {message}");
        }
        self.is_untouched();
    }
}

#[test]
fn a_layout_folder() {
    let fixture = Fixture::new();
    let loaded = fixture.load(&fixture.layout()).unwrap();
    assert_eq!(loaded[0].references[0].familiar(), "test:latest");
    let image = fixture.store.resolve("test").unwrap();
    assert_eq!((image.id, image.layers.len()), (loaded[0].id, 2));
    for text in [
        &image.id.to_string(),
        &image.id.hex(),
        &image.id.short(),
        &image.id.hex()[..3],
        "docker.io/library/test:latest",
    ] {
        assert_eq!(fixture.store.resolve(text).unwrap().id, image.id, "{text}");
    }
    let by_digest = format!("test@{}", image.manifest);
    assert_eq!(fixture.store.resolve(&by_digest).unwrap().id, image.id);
    assert!(
        fixture
            .store
            .resolve("nginx")
            .unwrap_err()
            .to_string()
            .contains("`nginx`")
    );
    assert!(
        fixture
            .store
            .resolve("Nginx")
            .unwrap_err()
            .to_string()
            .contains("lower case")
    );
}

#[test]
fn an_oci_archive_of_skopeo() {
    let fixture = Fixture::new();
    let loaded = fixture.load(&fixture.save("oci-archive")).unwrap();
    assert_eq!(loaded[0].references[0].familiar(), "team/app:1.2");
}

#[test]
fn a_docker_archive_of_skopeo() {
    let fixture = Fixture::new();
    let loaded = fixture.load(&fixture.save("docker-archive")).unwrap();
    assert_eq!(loaded[0].references[0].familiar(), "team/app:1.2");
    let image = fixture.store.resolve("team/app:1.2").unwrap();
    assert_eq!(fixture.store.layer_images(&image, 9).unwrap().len(), 2);
}

#[test]
fn compressed_archives_from_a_stream() {
    for compress in [gzip, |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap()] {
        let fixture = Fixture::new();
        let archive = compress(&fixture.archive());
        assert_eq!(
            fixture
                .store
                .load_stream(&archive[..], &LoadOptions::default())
                .unwrap()
                .len(),
            1
        );
    }
}

#[test]
fn a_docker_save_archive_with_an_index_beside_it() {
    let fixture = Fixture::new();
    let index: Value =
        serde_json::from_slice(&fs::read(fixture.layout().join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "blobs/sha256/");
    let manifest: Value =
        serde_json::from_slice(&fs::read(fixture.layout().join(digest)).unwrap()).unwrap();
    let path = |descriptor: &Value| {
        descriptor["digest"]
            .as_str()
            .unwrap()
            .replace("sha256:", "blobs/sha256/")
    };
    let saved = json!([{
        "Config": path(&manifest["config"]),
        "RepoTags": ["one:1", "two:2"],
        "Layers": manifest["layers"].as_array().unwrap().iter().map(path).collect::<Vec<_>>(),
    }]);
    fs::write(fixture.layout().join("manifest.json"), saved.to_string()).unwrap();
    // Docker before 25 gave no name there.
    let mut bare = index["manifests"][0].clone();
    bare.as_object_mut().unwrap().remove("annotations");
    layout::index(&fixture.layout(), vec![bare]);
    let loaded = fixture
        .store
        .load_stream(&fixture.archive()[..], &LoadOptions::default())
        .unwrap();
    let names: Vec<_> = loaded[0]
        .references
        .iter()
        .map(|name| name.familiar())
        .collect();
    assert_eq!(names, ["one:1", "two:2"]);
}

#[test]
fn an_index_in_an_index_gives_the_image_for_this_machine() {
    let fixture = Fixture::new();
    let layout = fixture.layout();
    let tar = layer().dir("./").file("right", "x").done();
    let mut right = layout::image(&layout, &[(layout::TAR.to_owned(), tar.clone(), tar)]);
    right["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    // Of the others not even the manifest is there, as in what `skopeo copy` leaves.
    let other = |os: &str, architecture: &str| {
        let digest = Digest::of(architecture.as_bytes()).to_string();
        json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
                "platform": { "os": os, "architecture": architecture } })
    };
    let index = json!({ "schemaVersion": 2, "manifests": [other("linux", "arm64"), right, other("unknown", "unknown")] });
    let index_type = "application/vnd.oci.image.index.v1+json";
    let nested = layout::blob(&layout, index_type, index.to_string().as_bytes());
    layout::index(&layout, vec![layout::with_name(nested, "multi:1")]);
    assert_eq!(fixture.load(&layout).unwrap().len(), 1);
    assert_eq!(fixture.store.resolve("multi:1").unwrap().layers.len(), 1);

    layout::index(&layout, vec![other("linux", "arm64")]);
    let message = fixture.load(&layout).unwrap_err().to_string();
    assert!(
        message.contains("linux/arm64") && message.contains("linux/amd64"),
        "{message}"
    );
}

#[test]
fn a_name_can_be_given_and_taken() {
    let fixture = Fixture::new();
    let options = LoadOptions {
        name: Some("mine:7".parse().unwrap()),
        ..LoadOptions::default()
    };
    let first = fixture.store.load(&fixture.layout(), &options).unwrap()[0].id;
    assert!(fixture.store.resolve("test").is_err());
    layout::simple(
        &fixture.layout(),
        &[layer().dir("./").file("other", "x").done()],
    );
    let second = fixture.store.load(&fixture.layout(), &options).unwrap()[0].id;
    assert_eq!(fixture.store.resolve("mine:7").unwrap().id, second);
    // The first is still there, without a name.
    let list = fixture.store.list().unwrap();
    assert_eq!(list.len(), 2);
    assert!(
        list.iter()
            .any(|listed| listed.image.id == first && listed.reference.is_none())
    );
}

#[test]
fn removing_leaves_what_others_share() {
    let fixture = Fixture::new();
    fixture.load(&fixture.layout()).unwrap();
    let image = fixture.store.resolve("test").unwrap();
    fixture
        .store
        .tag(&image, "other:1".parse().unwrap())
        .unwrap();
    assert_eq!(fixture.store.remove("test").unwrap().deleted, []);
    fixture
        .store
        .layer_images(&fixture.store.resolve("other:1").unwrap(), 1)
        .unwrap();
    let held = fixture.store.layer_images(&image, 9).unwrap();
    assert_eq!(fixture.store.remove("other:1").unwrap().deleted, [image.id]);
    fixture.is_untouched_but_for_the_index();
    // A running container goes on.
    assert!(held[0].file.metadata().unwrap().len() > 0);
}

impl Fixture {
    fn is_untouched_but_for_the_index(&self) {
        fs::remove_file(self.folder.path().join("store/content/index.json")).unwrap();
        self.is_untouched();
    }
}

#[test]
fn loading_twice_at_once_is_loading_once() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| fixture.load(&fixture.layout()).unwrap());
        }
    });
    assert_eq!(fixture.store.list().unwrap().len(), 1);
    let image = fixture.store.resolve("test").unwrap();
    assert_eq!(fixture.store.layer_images(&image, 9).unwrap().len(), 2);
}

#[test]
fn archives_cut_at_any_place() {
    let fixture = Fixture::new();
    let archive = fixture.archive();
    // The end marker and the padding behind it may go.
    let needed = archive.len() - archive.iter().rev().take_while(|&&byte| byte == 0).count();
    for i in 0..40 {
        fixture.refuses(&archive[..needed * i / 40], &[]);
    }
    let compressed = gzip(&archive);
    fixture.refuses(&compressed[..compressed.len() / 2], &["damaged"]);
    fixture.refuses(&compressed[..compressed.len() - 1], &["damaged"]);
}

#[test]
fn a_blob_that_is_not_what_its_name_says() {
    let fixture = Fixture::new();
    let mut archive = fixture.archive();
    let at = archive
        .windows(4)
        .position(|window| window == b"test")
        .unwrap();
    archive[at] = b'T';
    fixture.refuses(&archive, &["damaged", "is in fact sha256:"]);
}

#[test]
fn a_blob_that_is_missing() {
    for blob in blobs(&Fixture::new().layout()) {
        let fixture = Fixture::new();
        fs::remove_file(fixture.layout().join("blobs/sha256").join(&blob)).unwrap();
        fixture.refuses(&fixture.archive(), &["missing", &blob]);
        assert!(fixture.load(&fixture.layout()).is_err());
        fixture.is_untouched();
    }
}

fn blobs(layout: &Path) -> Vec<String> {
    fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_layer_that_is_not_what_the_configuration_says() {
    let fixture = Fixture::new();
    let tar = layer().dir("./").done();
    let other = layer().dir("./").file("other", "x").done();
    let manifest = layout::image(&fixture.layout(), &[(layout::TAR.to_owned(), tar, other)]);
    layout::index(&fixture.layout(), vec![manifest]);
    fixture.refuses(&fixture.archive(), &["damaged", "unpacks to"]);
}

#[test]
fn a_layer_that_only_claims_to_be_one_that_is_here() {
    let known = layer().dir("./").file("known", "x").done();
    let other = layer().dir("./").file("other", "x").done();
    let claim = |blob: &[u8]| (format!("{}+gzip", layout::TAR), gzip(blob), known.clone());
    let fixture = Fixture::new();
    let load = |layers: &[(String, Vec<u8>, Vec<u8>)], name: &str| {
        let layout = fixture.path(name);
        let manifest = layout::image(&layout, layers);
        layout::index(&layout, vec![layout::with_name(manifest, name)]);
        fixture.load(&layout)
    };
    // Before the file system is there, in the same image, and afterwards.
    let both = [claim(&known), claim(&other)];
    let message = chain(&load(&both, "both:1").unwrap_err());
    assert!(message.contains("is damaged: it unpacks to"), "{message}");
    fixture.is_untouched();
    load(&both[..1], "known:1").unwrap();
    let message = chain(&load(&both[1..], "other:1").unwrap_err());
    assert!(message.contains("is damaged: it unpacks to"), "{message}");
    assert!(fixture.store.resolve("other:1").is_err());
    // The same layer in another compression is fine.
    let zstd = zstd::encode_all(&known[..], 1).unwrap();
    let layer = (format!("{}+zstd", layout::TAR), zstd, known.clone());
    load(&[layer], "zstd:1").unwrap();
}

#[test]
fn a_size_that_is_not_the_descriptors() {
    let fixture = Fixture::new();
    let tar = layer().dir("./").done();
    let mut manifest = layout::image(
        &fixture.layout(),
        &[(layout::TAR.to_owned(), tar.clone(), tar)],
    );
    manifest["size"] = json!(manifest["size"].as_u64().unwrap() + 1);
    layout::index(&fixture.layout(), vec![manifest]);
    fixture.refuses(&fixture.archive(), &["bytes instead of"]);
}

#[test]
fn archives_that_point_outside_or_are_none() {
    let fixture = Fixture::new();
    fixture.refuses(
        &layer().file("../evil", "x").done(),
        &["`../evil`", "outside"],
    );
    fixture.refuses(
        &layer().symlink("a/b", "../../evil").done(),
        &["`a/b`", "outside"],
    );
    let manifest = json!([{ "Config": "../../etc/passwd", "Layers": [] }]).to_string();
    fixture.refuses(
        &layer().file("manifest.json", manifest).done(),
        &["../../etc/passwd", "outside"],
    );
    fixture.refuses(&layer().file("readme", "x").done(), &["not an image"]);
    fixture.refuses(&layer().file("index.json", "{").done(), &["index.json"]);
    fixture.refuses(b"", &["not an image"]);
    fixture.refuses(&noise(10_000, 4), &["damaged"]);
    // A link in a folder is followed only within it.
    fs::remove_file(fixture.layout().join("index.json")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", fixture.layout().join("index.json")).unwrap();
    assert!(
        fixture
            .load(&fixture.layout())
            .unwrap_err()
            .to_string()
            .contains("outside")
    );
    let missing = fixture
        .load(&fixture.path("missing"))
        .unwrap_err()
        .to_string();
    assert!(missing.contains("missing cannot be opened"), "{missing}");
}

#[test]
fn what_a_killed_command_left_is_swept() {
    let fixture = Fixture::new();
    let left = fixture.folder.path().join("store/tmp/work-left");
    fs::create_dir_all(left.join("deep")).unwrap();
    fixture.load(&fixture.layout()).unwrap();
    assert!(!left.exists());
}

#[test]
fn skopeo_reads_the_store_as_it_is() {
    let fixture = Fixture::new();
    fixture.load(&fixture.layout()).unwrap();
    let content = fixture.folder.path().join("store/content");
    let out = run(
        "skopeo",
        &[
            "inspect",
            &format!("oci:{}:docker.io/library/test:latest", str(&content)),
        ],
    );
    assert!(out.contains("amd64"));
}
