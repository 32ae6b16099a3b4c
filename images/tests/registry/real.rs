//! Debian's `docker-registry` on a free port of loopback, with a folder of its own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{run, str, tempdir};

/// A registry that goes with its test.
pub struct Registry {
    pub host: String,
    process: Child,
    _folder: tempfile::TempDir,
}

/// How it is to be reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Open,
    /// User `user`, password `secret`.
    Password,
}

impl Registry {
    pub fn start(access: Access) -> Self {
        let folder = tempdir();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        let storage = str(folder.path()).to_owned();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\nhttp: {{addr: '{host}'}}\n"
        );
        if access == Access::Password {
            let file = folder.path().join("htpasswd");
            std::fs::write(&file, run("htpasswd", &["-Bbn", "user", "secret"])).unwrap();
            config += &format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                str(&file)
            );
        }
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve", str(&file)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry of Debian; tests/setup installs it");
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(&host).is_err() {
            assert!(Instant::now() < deadline, "the registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            host,
            process,
            _folder: folder,
        }
    }

    /// Fills it with an image from a layout.
    pub fn fill(&self, layout: &Path, name: &str, credentials: &[&str]) {
        let (from, to) = (
            format!("oci:{}:latest", str(layout)),
            format!("docker://{}/{name}", self.host),
        );
        let mut args = vec!["copy", "-q", "--dest-tls-verify=false"];
        args.extend(credentials);
        args.extend([&*from, &*to]);
        run("skopeo", &args);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
