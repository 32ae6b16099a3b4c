//! What refers to an image: signatures, SBOMs and other artifacts with it as their subject (distribution-spec,
//! "Listing Referrers").

use std::collections::HashMap;

use oci_spec::image::{Descriptor, ImageIndex};

use super::client::Client;
use super::config::RegistryConfig;
use super::endpoints::{Purpose, at_endpoints};
use super::error::RegistryError;
use super::http::{Call, Http, header, host, join};
use super::text;
use crate::blobs::MAX_JSON;
use crate::digest::Digest;
use crate::reference::Reference;

/// Pages of a listing before it counts as an attack.
const MAX_PAGES: usize = 100;

/// An artifact that has an image as its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its manifest's digest.
    pub digest: Digest,
    /// Its manifest's size in bytes.
    pub size: u64,
    /// Its manifest's media type.
    pub media_type: String,
    /// What it is: a signature, an SBOM, …
    pub artifact_type: Option<String>,
    /// What its maker says of it.
    pub annotations: HashMap<String, String>,
}

/// What refers to the manifest `subject` in the repository of `reference`, of one type or of any.
pub fn referrers(
    reference: &Reference,
    subject: &Digest,
    artifact_type: Option<&str>,
) -> Result<Vec<Referrer>, RegistryError> {
    let http = Http::new(RegistryConfig::load()?);
    let found = at_endpoints(&http, reference, Purpose::Pull, |client| {
        match by_api(client, subject)? {
            Some(found) => Ok(found),
            None => by_tag(client, subject),
        }
    });
    let mut found = match found {
        Err(RegistryError::NotFound(_)) => Vec::new(),
        found => found?,
    };
    // Registries need not filter, and the tag cannot.
    found.retain(|referrer| {
        artifact_type.is_none_or(|wanted| referrer.artifact_type.as_deref() == Some(wanted))
    });
    Ok(found)
}

/// Asks the registry's API; `None` when it has none.
fn by_api(client: &Client<'_>, subject: &Digest) -> Result<Option<Vec<Referrer>>, RegistryError> {
    let what = format!("the request for what refers to {subject}");
    let mut url = client.url(&format!("referrers/{subject}"));
    let mut all = Vec::new();
    for _ in 0..MAX_PAGES {
        let response = client.call(&Call::get(&url))?;
        if matches!(response.status().as_u16(), 400 | 404 | 405 | 501) {
            return Ok(None);
        }
        let response = client.successful(response, &what)?;
        let next = super::client::next_page(response.headers()).and_then(|link| join(&url, &link));
        let kind = header(response.headers(), "content-type").unwrap_or_default();
        if !kind.contains("image.index") {
            // Some answer every path with a page for people.
            return Ok(None);
        }
        all.extend(listed(&text(response, MAX_JSON, &what)?, &what)?);
        match next {
            Some(next) if host(&next) == host(&url) => url = next,
            _ => break,
        }
    }
    Ok(Some(all))
}

/// Looks at the tag that clients keep up to date where there is no API ("Referrers Tag Schema").
fn by_tag(client: &Client<'_>, subject: &Digest) -> Result<Vec<Referrer>, RegistryError> {
    let tag = subject.to_string().replace(':', "-");
    let manifest = client.manifest(&tag)?;
    listed(&manifest.bytes, &format!("the request for {tag}"))
}

fn listed(json: &[u8], what: &str) -> Result<Vec<Referrer>, RegistryError> {
    let bad = |why: String| RegistryError::Answer {
        what: what.to_owned(),
        why,
    };
    let index: ImageIndex = serde_json::from_slice(json).map_err(|err| bad(err.to_string()))?;
    let referrer = |descriptor: &Descriptor| {
        let digest = descriptor.digest().to_string();
        Ok(Referrer {
            digest: digest.parse().map_err(|err| bad(format!("{err}")))?,
            size: descriptor.size(),
            media_type: descriptor.media_type().to_string(),
            artifact_type: descriptor.artifact_type().as_ref().map(ToString::to_string),
            annotations: descriptor.annotations().clone().unwrap_or_default(),
        })
    };
    index.manifests().iter().map(referrer).collect()
}
