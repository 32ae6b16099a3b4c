//! Image layouts with layers of our own.

use std::fs;
use std::path::Path;

use rvm_images::Digest;
use serde_json::{Value, json};

pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// Writes a blob and returns its descriptor.
pub fn blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes);
    let folder = layout.join("blobs/sha256");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(digest.hex()), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
}

/// Writes an image of `layers`, each as `(media type, blob, tar)`, and returns its manifest's descriptor.
pub fn image(layout: &Path, layers: &[(String, Vec<u8>, Vec<u8>)]) -> Value {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|(_, _, tar)| Digest::of(tar).to_string())
        .collect();
    let blobs: Vec<Value> = layers
        .iter()
        .map(|(media_type, bytes, _)| blob(layout, media_type, bytes))
        .collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = blob(
        layout,
        "application/vnd.oci.image.config.v1+json",
        &serde_json::to_vec(&config).unwrap(),
    );
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": blobs,
    });
    blob(
        layout,
        "application/vnd.oci.image.manifest.v1+json",
        &serde_json::to_vec(&manifest).unwrap(),
    )
}

/// Makes `layout` a layout with these entries in its index.
pub fn index(layout: &Path, manifests: Vec<Value>) {
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    fs::write(
        layout.join("index.json"),
        serde_json::to_vec(&index).unwrap(),
    )
    .unwrap();
}

pub fn with_name(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    descriptor
}

/// A layout with one image of uncompressed layers, named `test:latest` to us and `latest` to umoci.
pub fn simple(layout: &Path, layers: &[Vec<u8>]) {
    let layers: Vec<_> = layers
        .iter()
        .map(|tar| (TAR.to_owned(), tar.clone(), tar.clone()))
        .collect();
    let mut manifest = with_name(image(layout, &layers), "latest");
    manifest["annotations"]["io.containerd.image.name"] = json!("docker.io/library/test:latest");
    index(layout, vec![manifest]);
}

/// The layout as an archive, members in the order given or in any.
pub fn archive(layout: &Path) -> Vec<u8> {
    let output = std::process::Command::new("tar")
        .args(["-C", layout.to_str().unwrap(), "-c", "."])
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}
