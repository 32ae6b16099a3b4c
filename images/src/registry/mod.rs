//! OCI registries (distribution-spec): pulling and pushing images.
//!
//! Everything is blocking and on a few threads: a layer's bytes go from the connection to its file and, behind
//! it, to the converter. What comes from a registry is hostile: sizes are bounded, digests are checked, redirects
//! carry no credentials to another host.

mod auth;
mod client;
mod config;
mod credentials;
mod download;
mod endpoints;
mod error;
mod growing;
mod http;
mod login;
mod manifests;
mod proxy;
mod pull;
mod push;
mod referrers;
mod search;
mod trust;
mod url;

use std::io::Read;

use ureq::Body;
use ureq::http::Response;

pub use config::{ConfigError, RegistryConfig};
pub use credentials::{CredentialError, CredentialStore, Credentials, key as credentials_key};
pub use error::RegistryError;
pub use login::login;
pub use pull::{PullOptions, Pulled, all_tags};
pub use push::Pushed;
pub use referrers::{Referrer, referrers};
pub use search::{Hit, search};
pub use url::open_url;

/// Reads an answer that is a document.
fn text(response: Response<Body>, limit: u64, what: &str) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let bad = |why: String| RegistryError::Answer {
        what: what.to_owned(),
        why,
    };
    let mut reader = response.into_body().into_reader().take(limit + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|err| bad(err.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(bad(format!("it is above {limit} bytes")));
    }
    Ok(bytes)
}

/// What a registry says of a failure (distribution-spec, "Error Codes"), fit for a terminal.
fn message(json: &[u8]) -> String {
    let errors = serde_json::from_slice::<serde_json::Value>(json).ok();
    let first = errors
        .as_ref()
        .and_then(|value| value.get("errors")?.get(0));
    let part = |name: &str| {
        first
            .and_then(|error| error.get(name)?.as_str())
            .unwrap_or("")
    };
    let text = match (part("code"), part("message")) {
        ("", "") => String::from_utf8_lossy(json).trim().to_owned(),
        (code, message) => format!("{code} {message}").trim().to_owned(),
    };
    if text.is_empty() {
        return "it says nothing more".to_owned();
    }
    text.escape_debug().take(300).collect()
}
