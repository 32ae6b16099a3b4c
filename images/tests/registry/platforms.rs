//! Which image an index leads to, and what refers to an image.

use rvm_images::registry::{PullOptions, referrers};
use rvm_images::{Digest, Reference, Silent, Store};
use serde_json::{Value, json};

use crate::common::layers::layer;
use crate::common::{chain, layout, run, str, tempdir};
use crate::fixed::{Fixed, of_layout};
use crate::real::{Access, Registry};
use crate::round_trip::fill;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An image for a platform, whose single file is named after it.
fn image(layout: &std::path::Path, platform: &str) -> Value {
    let mut parts = platform.split('/');
    let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
    let mut own = json!({"os": os, "architecture": architecture});
    own["variant"] = parts.next().map_or(Value::Null, Value::from);
    let tar = layer()
        .dir("./")
        .file(&platform.replace('/', "-"), "x")
        .done();
    let mut config = own.clone();
    config["rootfs"] = json!({"type": "layers", "diff_ids": [Digest::of(&tar)]});
    let config = layout::blob(
        layout,
        "application/vnd.oci.image.config.v1+json",
        config.to_string().as_bytes(),
    );
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layout::blob(layout, layout::TAR, &tar)],
    });
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let mut manifest = layout::blob(layout, kind, manifest.to_string().as_bytes());
    if own["variant"].is_null() {
        own.as_object_mut().unwrap().remove("variant");
    }
    manifest["platform"] = own;
    manifest
}

fn index(layout: &std::path::Path, kind: &str, manifests: &[Value]) -> Value {
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
    layout::blob(layout, kind, index.to_string().as_bytes())
}

#[test]
fn an_index_leads_to_the_image_for_the_platform() {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    let arms =
        ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"].map(|platform| image(&layout, platform));
    let inner = index(&layout, LIST, &arms);
    let mut attestation = image(&layout, "linux/amd64");
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let top = index(
        &layout,
        INDEX,
        &[
            attestation,
            image(&layout, "windows/amd64"),
            image(&layout, "linux/amd64/v3"),
            image(&layout, "linux/amd64"),
            inner,
            image(&layout, "linux/arm64/v8"),
            image(&layout, "linux/arm64/v9"),
            image(&layout, "linux/s390x"),
        ],
    );
    let top_digest: Digest = top["digest"].as_str().unwrap().parse().unwrap();
    let server = Fixed::start(move |path| of_layout(&layout, &top, path));
    let name: Reference = format!("{}/multi:1", server.host).parse().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let pull = |platform: &str| {
        let options = PullOptions {
            platform: platform.parse().unwrap(),
            ..PullOptions::default()
        };
        let pulled = store
            .pull(&name, &options, &Silent)
            .map_err(|err| chain(&err))?;
        // Whatever the image, the name leads to the index.
        assert_eq!(pulled.digest, top_digest);
        let image = store.resolve(&name.to_string()).unwrap();
        assert_eq!(image.id, pulled.id);
        let variant = image.config.variant().as_ref().map(|v| format!("/{v}"));
        Ok::<_, String>(format!(
            "{}/{}{}",
            image.config.os(),
            image.config.architecture(),
            variant.unwrap_or_default()
        ))
    };
    for (wanted, found) in [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/amd64/v2", "linux/amd64"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v6"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("linux/s390x", "linux/s390x"),
    ] {
        assert_eq!(pull(wanted).unwrap(), found, "{wanted}");
    }
    let err = pull("linux/riscv64").unwrap_err();
    assert!(
        err.contains("no matching manifest for linux/riscv64"),
        "{err}"
    );
    assert!(
        err.contains("linux/s390x") && !err.contains("unknown"),
        "{err}"
    );
}

#[test]
fn an_image_for_another_platform_than_asked_for_is_refused() {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    let alone = image(&layout, "linux/arm64");
    let server = Fixed::start(move |path| of_layout(&layout, &alone, path));
    let name: Reference = format!("{}/alone:1", server.host).parse().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let options = |platform: &str| PullOptions {
        platform: platform.parse().unwrap(),
        ..PullOptions::default()
    };
    let pulled = store.pull(&name, &options("linux/amd64"), &Silent);
    let err = chain(&pulled.unwrap_err());
    assert!(err.contains("for linux/arm64"), "{err}");
    store.pull(&name, &options("linux/arm64"), &Silent).unwrap();
}

#[test]
fn indexes_without_end_are_refused() {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    let mut top = image(&layout, "linux/amd64");
    for _ in 0..10 {
        top = index(&layout, INDEX, &[top]);
    }
    let server = Fixed::start(move |path| of_layout(&layout, &top, path));
    let name: Reference = format!("{}/deep:1", server.host).parse().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let err = chain(
        &store
            .pull(&name, &PullOptions::default(), &Silent)
            .unwrap_err(),
    );
    assert!(err.contains("nested too deeply"), "{err}");
}

fn artifact(kind: &str) -> Value {
    json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::of(kind.as_bytes()),
        "size": 7, "artifactType": kind, "annotations": {"made-by": "a test"},
    })
}

#[test]
fn referrers_are_listed_by_the_api() {
    let subject = Digest::of(b"subject");
    let server = Fixed::start(move |path| {
        let first = format!("/v2/app/referrers/{subject}");
        let list = |kinds: &[&str]| {
            let manifests: Vec<_> = kinds.iter().map(|kind| artifact(kind)).collect();
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
                .to_string()
                .into_bytes()
        };
        let kind = format!("Content-Type: {INDEX}\r\n");
        match path.strip_prefix(&first)? {
            "" => Some((
                format!("{kind}Link: <{first}?last=1>; rel=\"next\"\r\n"),
                list(&["sbom/spdx", "signature/x"]),
            )),
            "?last=1" => Some((kind, list(&["sbom/cyclone"]))),
            _ => None,
        }
    });
    let name: Reference = format!("{}/app:1", server.host).parse().unwrap();
    let found = referrers(&name, &subject, None).unwrap();
    let types: Vec<_> = found
        .iter()
        .map(|found| found.artifact_type.as_deref().unwrap())
        .collect();
    assert_eq!(types, ["sbom/spdx", "signature/x", "sbom/cyclone"]);
    assert_eq!(found[0].digest, Digest::of(b"sbom/spdx"));
    assert_eq!(found[0].annotations["made-by"], "a test");
    let signatures = referrers(&name, &subject, Some("signature/x")).unwrap();
    assert_eq!(signatures.len(), 1);
}

#[test]
fn referrers_are_found_by_their_tag_where_there_is_no_api() {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    fill(&layout);
    let registry = Registry::start(Access::Open);
    registry.fill(&layout, "app:1", &[]);
    let name: Reference = format!("{}/app:1", registry.host).parse().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let subject = store
        .pull(&name, &PullOptions::default(), &Silent)
        .unwrap()
        .digest;
    assert_eq!(referrers(&name, &subject, None).unwrap(), []);
    // The registry wants to have what an index lists.
    let manifest = std::fs::read(
        folder
            .path()
            .join("store/content/blobs/sha256")
            .join(subject.hex()),
    )
    .unwrap();
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": manifest.len(),
        "artifactType": "signature/x",
    }]});
    let file = folder.path().join("list");
    std::fs::write(&file, list.to_string()).unwrap();
    let tag = subject.to_string().replace(':', "-");
    let url = format!("http://{}/v2/app/manifests/{tag}", registry.host);
    let header = format!("Content-Type: {INDEX}");
    let data = format!("@{}", str(&file));
    run(
        "curl",
        &[
            "-sSf",
            "-X",
            "PUT",
            "-H",
            &header,
            "--data-binary",
            &data,
            &url,
        ],
    );
    let found = referrers(&name, &subject, None).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].artifact_type.as_deref(), Some("signature/x"));
    assert_eq!(referrers(&name, &subject, Some("sbom/x")).unwrap(), []);
}
