//! A user with an environment of their own: what they do runs in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use rvm_images::registry::{
    CredentialStore, Credentials, PullOptions, all_tags, login, referrers, search,
};
use rvm_images::{Silent, Store};
use serde_json::{Value, json};

use crate::common::{chain, tempdir};

const ACTION: &str = "RVM_IMAGES_TEST_ACTION";

pub struct User {
    pub folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl User {
    pub fn new() -> Self {
        Self {
            folder: tempdir(),
            environment: Vec::new(),
        }
    }

    pub fn set(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.environment
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Writes `registries.json`.
    pub fn registries(self, json: &Value) -> Self {
        self.write("config/rvm/registries.json", json.to_string());
        self
    }

    /// Writes Docker's `config.json`.
    pub fn docker(self, json: &Value) -> Self {
        self.write("docker/config.json", json.to_string());
        self
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn store(&self) -> Store {
        Store::open(self.folder.path().join("store")).unwrap()
    }

    /// Does one thing: its result, or the text of the failure.
    pub fn act(&self, action: &[&str]) -> Result<String, String> {
        let path = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(std::env::current_exe().unwrap());
        for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
            command
                .env_remove(name)
                .env_remove(name.to_ascii_lowercase());
        }
        let output = command
            .args(["--exact", "user::child", "--nocapture"])
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR")
            .env_remove("RVM_REGISTRIES")
            .env("HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", path("config"))
            .env("DOCKER_CONFIG", path("docker"))
            .envs(self.environment.iter().cloned())
            .env(ACTION, json!([self.folder.path(), action]).to_string())
            .output()
            .unwrap();
        let result = std::fs::read(path("result"))
            .unwrap_or_else(|err| panic!("{err}: {}", String::from_utf8_lossy(&output.stderr)));
        std::fs::remove_file(path("result")).unwrap();
        serde_json::from_slice(&result).unwrap()
    }
}

/// Not a test of its own: what the user's process runs.
#[test]
fn child() {
    let Ok(action) = std::env::var(ACTION) else {
        return;
    };
    let (folder, action): (PathBuf, Vec<String>) = serde_json::from_str(&action).unwrap();
    let action: Vec<&str> = action.iter().map(String::as_str).collect();
    let result = act(&folder, &action).map_err(|err| chain(&*err));
    std::fs::write(folder.join("result"), serde_json::to_vec(&result).unwrap()).unwrap();
}

fn act(folder: &Path, action: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let store = Store::open(folder.join("store"))?;
    let credentials = |user: &str, secret: &str| Credentials {
        user: user.to_owned(),
        secret: secret.to_owned(),
    };
    Ok(match action {
        ["pull", name, platform @ ..] => {
            let mut options = PullOptions::default();
            for platform in platform {
                options.platform = platform.parse()?;
            }
            store
                .pull(&name.parse()?, &options, &Silent)?
                .digest
                .to_string()
        }
        ["push", name] => store.push(&name.parse()?, &Silent)?.digest.to_string(),
        ["tags", name] => all_tags(&name.parse()?)?.join(" "),
        ["search", term] => format!("{:?}", search(term, 25)?),
        ["referrers", name, subject, kind @ ..] => {
            let found = referrers(&name.parse()?, &subject.parse()?, kind.first().copied())?;
            let types = found.into_iter().filter_map(|found| found.artifact_type);
            types.collect::<Vec<_>>().join(" ")
        }
        ["login", host, user, secret] => {
            login(host, &credentials(user, secret))?;
            let is_plain = CredentialStore::of_user()?.set(host, &credentials(user, secret))?;
            format!("plain: {is_plain}")
        }
        ["logout", host] => CredentialStore::of_user()?.remove(host)?.to_string(),
        other => panic!("{other:?}"),
    })
}
