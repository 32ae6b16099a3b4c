//! Archives that `rvm save` and `skopeo` make load in each other.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::layers::{gzip, layer, noise};
use common::{layout, run, str, tempdir};
use rvm_images::{LoadOptions, Store};

#[test]
fn archives_load_in_each_other() {
    let folder = tempdir();
    let path = |name: &str| str(&folder.path().join(name)).to_owned();
    let layers: Vec<_> = (0..2u64)
        .map(|i| {
            let tar = layer()
                .dir("./")
                .file(&format!("file-{i}"), noise(3_000, i))
                .done();
            (format!("{}+gzip", layout::TAR), gzip(&tar), tar)
        })
        .collect();
    let first = folder.path().join("layout");
    let manifest = layout::image(&first, &layers);
    layout::index(&first, vec![layout::with_name(manifest, "test:1")]);
    let store = Store::open(path("store")).unwrap();
    store.load(&first, &LoadOptions::default()).unwrap();
    let image = store.resolve("test:1").unwrap();
    store
        .tag(&image, "registry.test/other:2".parse().unwrap())
        .unwrap();

    let names = ["test:1".to_owned(), "registry.test/other:2".to_owned()];
    store
        .save(&names, std::fs::File::create(path("saved.tar")).unwrap())
        .unwrap();
    // Into another store, with both names.
    let other = Store::open(path("other")).unwrap();
    other
        .load(path("saved.tar").as_ref(), &LoadOptions::default())
        .unwrap();
    for name in &names {
        let loaded = other.resolve(name).unwrap();
        assert_eq!(
            (loaded.id, loaded.manifest),
            (image.id, image.manifest),
            "{name}"
        );
    }
    // Both ways through skopeo, in both forms.
    for (form, reference) in [("docker-archive", "test:1"), ("oci-archive", "test:1")] {
        let from = match form {
            "docker-archive" => format!("{form}:{}:{reference}", path("saved.tar")),
            _ => format!("{form}:{}:docker.io/library/{reference}", path("saved.tar")),
        };
        let to = format!("{form}:{}:docker.io/library/{reference}", path(form));
        run("skopeo", &["copy", "-q", &from, &to]);
        let third = Store::open(path(&format!("store-{form}"))).unwrap();
        third
            .load(path(form).as_ref(), &LoadOptions::default())
            .unwrap();
        let loaded = third.resolve(reference).unwrap();
        assert_eq!(
            loaded
                .layers
                .iter()
                .map(|layer| layer.diff_id)
                .collect::<Vec<_>>(),
            image
                .layers
                .iter()
                .map(|layer| layer.diff_id)
                .collect::<Vec<_>>(),
            "{form}"
        );
    }
}
