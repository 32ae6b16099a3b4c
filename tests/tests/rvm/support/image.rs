//! Images made from `busybox` by skopeo and umoci, and damaged ones made from those.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::process::judge;
use super::{Host, Process, archive};

/// An OCI layout folder with one image.
pub struct Layout {
    pub folder: PathBuf,
    tag: String,
}

impl Layout {
    /// The image `busybox` under another name, in a folder of that name that goes with the host.
    pub fn of_busybox(host: &Host, name: &str) -> Self {
        let folder = host.folder().join("tmp").join(name);
        let layout = Self {
            folder,
            tag: format!("{name}:latest"),
        };
        let from = format!("oci-archive:{}", archive("busybox").display());
        judge(
            "skopeo",
            [
                "--insecure-policy",
                "copy",
                "-q",
                &from,
                &format!("oci:{}:{}", layout.path(), layout.tag),
            ],
        );
        layout
    }

    /// Changes the image's configuration, with umoci's options.
    pub fn configure(self, options: &[&str]) -> Self {
        let image = format!("{}:{}", self.path(), self.tag);
        let mut command = std::process::Command::new("umoci");
        command.args(["config", "--image", &image]).args(options);
        Process::start(command).wait().success();
        judge("umoci", ["gc", "--layout", self.path()]);
        self
    }

    /// The folder's path.
    pub fn path(&self) -> &str {
        self.folder.to_str().expect("UTF-8")
    }

    /// As an OCI archive.
    pub fn archive(&self) -> PathBuf {
        let archive = self.folder.with_extension("tar");
        judge(
            "tar",
            [
                "-C",
                self.path(),
                "-cf",
                archive.to_str().expect("UTF-8"),
                ".",
            ],
        );
        archive
    }

    /// The blob that a digest names.
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.folder.join("blobs").join(digest.replace(':', "/"))
    }

    /// The descriptor of the image's manifest.
    pub fn manifest(&self) -> Value {
        let index = json(&self.folder.join("index.json"));
        let descriptor = &index["manifests"][0];
        serde_json::json!({
            "mediaType": descriptor["mediaType"], "digest": descriptor["digest"], "size": descriptor["size"],
        })
    }

    /// Adds a layer, made of a tar archive.
    pub fn add_layer(&self, tar: &Path) {
        let image = format!("{}:{}", self.path(), self.tag);
        let tar = tar.to_str().expect("UTF-8");
        judge("umoci", ["raw", "add-layer", "--image", &image, tar]);
    }

    /// The digest of the image's only layer.
    pub fn layer(&self) -> String {
        let manifest = json(&self.blob(text(&self.manifest()["digest"])));
        text(&manifest["layers"][0]["digest"]).to_owned()
    }

    /// Puts another layer in the place of the image's own, with all digests as they have to be.
    pub fn replace_layer(&self, tar: &Path) {
        let index_path = self.folder.join("index.json");
        let mut index = json(&index_path);
        let mut manifest = json(&self.blob(text(&index["manifests"][0]["digest"])));
        let mut config = json(&self.blob(text(&manifest["config"]["digest"])));
        let (layer, size) = self.add(&fs::read(tar).expect("layer"));
        config["rootfs"]["diff_ids"] = Value::from(vec![layer.clone()]);
        manifest["layers"] = serde_json::json!([
            { "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size }
        ]);
        let put = |descriptor: &mut Value, content: &Value| {
            let (digest, size) = self.add(content.to_string().as_bytes());
            descriptor["digest"] = digest.into();
            descriptor["size"] = size.into();
        };
        put(&mut manifest["config"], &config);
        put(&mut index["manifests"][0], &manifest);
        fs::write(index_path, index.to_string()).expect("index");
    }

    /// Adds a blob; its digest and size.
    fn add(&self, content: &[u8]) -> (String, usize) {
        let new = self.folder.join("blobs/new");
        fs::write(&new, content).expect("blob");
        let sum = judge("sha256sum", [new.to_str().expect("UTF-8")]);
        let digest = format!("sha256:{}", &sum[..64]);
        fs::rename(&new, self.blob(&digest)).expect("blob");
        (digest, content.len())
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("file")).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
