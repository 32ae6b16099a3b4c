//! Debian's `docker-registry` on a free port of loopback, with a folder of its own.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::judge;
use super::{Host, Process, archive, wait_until};

/// A registry that goes with its test.
pub struct Registry {
    /// Host and port, as they stand in references.
    pub host: String,
    folder: tempfile::TempDir,
    _process: Process,
}

impl Registry {
    /// One that is open to everybody.
    pub fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// One for user `user` with password `secret`.
    pub fn with_password() -> Self {
        Self::start_with(|folder| {
            let file = folder.join("htpasswd");
            std::fs::write(&file, judge("htpasswd", ["-Bbn", "user", "secret"])).expect("htpasswd");
            format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                file.display()
            )
        })
    }

    fn start_with(more: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("rvm-test-registry-")
            .tempdir()
            .expect("folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("port");
        let host = free.local_addr().expect("address").to_string();
        drop(free);
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'}}\n{}",
            folder.path().join("data").display(),
            more(folder.path())
        );
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).expect("config");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file);
        let process = Process::start(command);
        wait_until("the registry", || TcpStream::connect(&host).ok());
        Self {
            host,
            folder,
            _process: process,
        }
    }

    /// The reference of one of its images.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host)
    }

    /// Brings a test image into it.
    pub fn fill(&self, image: &str, to: &str) {
        self.fill_from(&format!("oci-archive:{}", archive(image).display()), to);
    }

    /// Brings an image into it from wherever skopeo reads one.
    pub fn fill_from(&self, from: &str, to: &str) {
        let to = format!("docker://{}", self.name(to));
        judge(
            "skopeo",
            [
                "--insecure-policy",
                "copy",
                "-q",
                "--preserve-digests",
                "--dest-tls-verify=false",
                from,
                &to,
            ],
        );
    }

    /// What `skopeo inspect` says of one of its images, with more options.
    pub fn inspect(&self, image: &str, options: &[&str]) -> serde_json::Value {
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--tls-verify=false"]);
        command
            .args(options)
            .arg(format!("docker://{}", self.name(image)));
        let text = Process::start(command).wait().success();
        serde_json::from_str(&text).expect("JSON")
    }

    /// Has a host's `rvm` take this registry for Docker's, by its list of registries.
    pub fn mirror_for(&self, host: &Host) -> PathBuf {
        let file = host.folder().join("tmp/registries.json");
        let list = serde_json::json!({"registry-mirrors": [format!("http://{}", self.host)]});
        std::fs::write(&file, list.to_string()).expect("list");
        file
    }

    /// Sends a document to be a manifest of a repository.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, json: &str) {
        let file = self.folder.path().join("manifest");
        std::fs::write(&file, json).expect("manifest");
        judge(
            "curl",
            [
                "-sSf",
                "-X",
                "PUT",
                "-H",
                &format!("Content-Type: {media_type}"),
                "--data-binary",
                &format!("@{}", file.display()),
                &format!("http://{}/v2/{repository}/manifests/{tag}", self.host),
            ],
        );
    }
}
