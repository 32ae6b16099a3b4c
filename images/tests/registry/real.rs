//! Debian's `docker-registry` on a free port of loopback, with a folder of its own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::certificate::Certificate;
use crate::common::{run, str, tempdir};

/// A registry that goes with its test.
pub struct Registry {
    pub host: String,
    process: Child,
    folder: tempfile::TempDir,
}

/// How it is to be reached.
#[derive(Clone, Copy)]
pub enum Access<'a> {
    Open,
    /// User `user`, password `secret`.
    Password,
    /// By HTTPS, with this certificate.
    Tls(&'a Certificate),
}

impl Registry {
    pub fn start(access: Access<'_>) -> Self {
        let folder = tempdir();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        let storage = str(folder.path()).to_owned();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\n"
        );
        let mut tls = String::new();
        if let Access::Tls(certificate) = access {
            let (own, key) = (str(&certificate.certificate), str(&certificate.key));
            tls = format!(", tls: {{certificate: {own}, key: {key}}}");
        }
        config += &format!("http: {{addr: '{host}'{tls}}}\n");
        if let Access::Password = access {
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
            .stdout(std::fs::File::create(folder.path().join("access.log")).unwrap())
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
            folder,
        }
    }

    /// The requests that it answered, in the form of Apache's logs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("access.log")).unwrap()
    }

    /// Where its repositories are.
    pub fn storage(&self) -> std::path::PathBuf {
        self.folder.path().join("docker/registry/v2/repositories")
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
