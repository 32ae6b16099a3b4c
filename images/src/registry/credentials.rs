//! Who we are to a registry: Docker's `config.json` and its credential helpers.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Docker's own name for its registry.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// A user and what proves it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name; `<token>` when the secret is an identity token.
    pub user: String,
    /// The password or token.
    pub secret: String,
}

/// Docker's `config.json`, or the place for it.
#[derive(Debug, Clone)]
pub struct CredentialStore(PathBuf);

/// Credentials cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// No file can be found or made.
    #[error("there is no place for credentials: set DOCKER_CONFIG or HOME")]
    Nowhere,
    /// Reading or writing the file failed.
    #[error("the credentials in {path} cannot be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is not JSON.
    #[error("the credentials in {path} cannot be understood")]
    Format {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
    /// A credential helper could not be run.
    #[error("the credential helper docker-credential-{0} failed: {1}")]
    Helper(String, String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Whether the secret is an identity token (a refresh token of OAuth 2).
    pub(super) fn is_token(&self) -> bool {
        self.user == "<token>"
    }

    pub(super) fn basic(&self) -> String {
        format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{}", self.user, self.secret))
        )
    }
}

/// The name under which Docker keeps a registry's credentials.
pub fn key(domain: &str) -> &str {
    match domain {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_KEY,
        other => other,
    }
}

impl CredentialStore {
    /// The user's: `config.json` in `DOCKER_CONFIG` or in `~/.docker`.
    pub fn of_user() -> Result<Self, CredentialError> {
        std::env::var_os("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker")))
            .map(|folder| Self(folder.join("config.json")))
            .ok_or(CredentialError::Nowhere)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The credentials for a registry, if there are any.
    pub fn get(&self, domain: &str) -> Result<Option<Credentials>, CredentialError> {
        let config = self.read()?;
        let key = key(domain);
        if let Some(helper) = helper(&config, key) {
            return ask(&helper, key);
        }
        let Some(auth) = entry(&config, key) else {
            return Ok(None);
        };
        let text = |name: &str| {
            auth.get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credentials {
                user: "<token>".to_owned(),
                secret: token.to_owned(),
            }));
        }
        if let (Some(user), Some(secret)) = (text("username"), text("password")) {
            return Ok(Some(Credentials {
                user: user.to_owned(),
                secret: secret.to_owned(),
            }));
        }
        let decoded = text("auth").and_then(|auth| STANDARD.decode(auth).ok());
        Ok(decoded.and_then(|auth| {
            let auth = String::from_utf8(auth).ok()?;
            let (user, secret) = auth.trim_end_matches('\0').split_once(':')?;
            Some(Credentials {
                user: user.to_owned(),
                secret: secret.to_owned(),
            })
        }))
    }

    /// Keeps credentials; whether they are in the file itself, not encrypted.
    pub fn set(&self, domain: &str, credentials: &Credentials) -> Result<bool, CredentialError> {
        let mut config = self.read()?;
        let key = key(domain);
        if let Some(helper) = helper(&config, key) {
            let input = json!({"ServerURL": key, "Username": credentials.user, "Secret": credentials.secret});
            run_helper(&helper, "store", &input.to_string())?;
            return Ok(false);
        }
        let auth = if credentials.is_token() {
            json!({ "identitytoken": credentials.secret })
        } else {
            json!({"auth": STANDARD.encode(format!("{}:{}", credentials.user, credentials.secret))})
        };
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(key.to_owned(), auth);
        }
        self.write(&config)?;
        Ok(true)
    }

    /// Forgets credentials; whether there were any.
    pub fn remove(&self, domain: &str) -> Result<bool, CredentialError> {
        let mut config = self.read()?;
        let key = key(domain);
        if let Some(helper) = helper(&config, key) {
            let had = ask(&helper, key)?.is_some();
            if had {
                run_helper(&helper, "erase", key)?;
            }
            return Ok(had);
        }
        let auths = config.get_mut("auths").and_then(Value::as_object_mut);
        let had = auths.is_some_and(|auths| auths.remove(key).is_some());
        if had {
            self.write(&config)?;
        }
        Ok(had)
    }

    fn read(&self) -> Result<Map<String, Value>, CredentialError> {
        match fs::read(&self.0) {
            Ok(json) => serde_json::from_slice(&json).map_err(|source| CredentialError::Format {
                path: self.0.clone(),
                source,
            }),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
            Err(source) => Err(self.io(source)),
        }
    }

    /// Replaces the file by one that its owner alone can read.
    fn write(&self, config: &Map<String, Value>) -> Result<(), CredentialError> {
        let write = || {
            // A link, as people who keep their settings elsewhere have it, stays one.
            let path = fs::canonicalize(&self.0).unwrap_or_else(|_| self.0.clone());
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let new = path.with_extension(format!("json.{}", std::process::id()));
            let mut file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(&serde_json::to_vec_pretty(config)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> CredentialError {
        CredentialError::Io {
            path: self.0.clone(),
            source,
        }
    }
}

/// The entry for a registry, which old tools wrote with a scheme or a path.
fn entry<'a>(config: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let auths = config.get("auths")?.as_object()?;
    let host = |name: &str| {
        let name = name
            .trim_start_matches("https://")
            .trim_start_matches("http://");
        name.split('/').next().unwrap_or(name).to_owned()
    };
    auths.get(key).or_else(|| {
        auths
            .iter()
            .find(|(name, _)| host(name) == host(key))
            .map(|(_, auth)| auth)
    })
}

fn helper(config: &Map<String, Value>, key: &str) -> Option<String> {
    let own = config
        .get("credHelpers")
        .and_then(|helpers| helpers.get(key));
    own.or_else(|| config.get("credsStore"))
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .map(str::to_owned)
}

fn ask(helper: &str, key: &str) -> Result<Option<Credentials>, CredentialError> {
    let output = match run_helper(helper, "get", key) {
        Ok(output) => output,
        Err(CredentialError::Helper(_, text)) if text.contains("credentials not found") => {
            return Ok(None);
        }
        Err(err) => return Err(err),
    };
    let answer: Value = serde_json::from_str(&output)
        .map_err(|err| CredentialError::Helper(helper.to_owned(), err.to_string()))?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(text("Username")
        .zip(text("Secret"))
        .map(|(user, secret)| Credentials { user, secret }))
}

/// Runs a helper by the protocol of `docker-credential-helpers`.
fn run_helper(helper: &str, action: &str, input: &str) -> Result<String, CredentialError> {
    let failed = |why: String| CredentialError::Helper(helper.to_owned(), why);
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|err| failed(err.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read says with its exit code what is wrong.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|err| failed(err.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(failed(text.trim().to_owned()))
    }
}
