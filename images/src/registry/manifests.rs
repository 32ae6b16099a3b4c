//! From what a name leads to, an index or a manifest, to the manifest for a platform (image-spec, image-index.md).

use oci_spec::image::{Descriptor, ImageIndex};
use serde::Deserialize;

use super::client::{Client, Manifest};
use super::error::RegistryError;
use super::pull::expect_size;
use crate::digest::Digest;
use crate::load::LoadError;
use crate::platform::Platform;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Indexes within indexes, and how many in all, before they count as an attack.
const MAX_DEPTH: usize = 4;
const MAX_INDEXES: usize = 64;

/// The manifest for `platform` that `top` is or leads to.
pub(super) fn choose(
    client: &Client<'_>,
    top: Manifest,
    platform: &Platform,
    name: &str,
) -> Result<Vec<u8>, RegistryError> {
    if !is_index(&top) {
        return Ok(top.bytes);
    }
    let mut search = Search {
        client,
        platform,
        name,
        best: None,
        others: Vec::new(),
        indexes: 0,
    };
    search.index(&top.bytes, 0)?;
    match search.best {
        Some((_, digest, size)) => sized_manifest(client, &digest, size),
        None => Err(RegistryError::Platform {
            wanted: platform.to_string(),
            found: match &search.others[..] {
                [] => "none".to_owned(),
                others => others.join(", "),
            },
        }),
    }
}

/// The manifest or index that a descriptor speaks of.
fn sized_manifest(
    client: &Client<'_>,
    digest: &Digest,
    size: u64,
) -> Result<Vec<u8>, RegistryError> {
    let bytes = client.manifest(&digest.to_string())?.bytes;
    expect_size(digest, size, bytes.len() as u64)?;
    Ok(bytes)
}

struct Search<'a> {
    client: &'a Client<'a>,
    platform: &'a Platform,
    name: &'a str,
    /// How well it suits, what it is, and its size; the lowest suits best.
    best: Option<(u32, Digest, u64)>,
    others: Vec<String>,
    indexes: usize,
}

impl Search<'_> {
    fn index(&mut self, json: &[u8], depth: usize) -> Result<(), RegistryError> {
        self.indexes += 1;
        if depth > MAX_DEPTH || self.indexes > MAX_INDEXES {
            return Err(self.bad(LoadError::Nesting));
        }
        let index: ImageIndex = serde_json::from_slice(json).map_err(|source| {
            self.bad(LoadError::Json {
                what: "its index".to_owned(),
                source,
            })
        })?;
        for descriptor in index.manifests() {
            self.entry(descriptor, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), RegistryError> {
        let rank = match descriptor.platform() {
            // An index within is worth a look; a manifest of no platform is better than none.
            None => Some(u32::MAX),
            Some(found) => {
                let found = Platform {
                    os: found.os().to_string(),
                    architecture: found.architecture().to_string(),
                    variant: found
                        .variant()
                        .clone()
                        .filter(|variant| !variant.is_empty()),
                };
                let rank = self.platform.rank(&found);
                // Attestations stand among the platforms as unknown/unknown.
                if rank.is_none() && found.os != "unknown" {
                    self.others.push(found.to_string());
                }
                rank
            }
        };
        let Some(rank) = rank else { return Ok(()) };
        let digest: Digest = descriptor
            .digest()
            .to_string()
            .parse()
            .map_err(|err| self.bad(LoadError::BadDigest(err)))?;
        let media_type = descriptor.media_type().to_string();
        if matches!(&*media_type, OCI_INDEX | DOCKER_LIST) {
            let index = sized_manifest(self.client, &digest, descriptor.size())?;
            return self.index(&index, depth + 1);
        }
        if self.best.is_none_or(|(best, ..)| rank < best) {
            self.best = Some((rank, digest, descriptor.size()));
        }
        Ok(())
    }

    fn bad(&self, error: LoadError) -> RegistryError {
        RegistryError::Document(self.name.to_owned(), error)
    }
}

/// By what the document says of itself; registries are known to send wrong headers.
fn is_index(manifest: &Manifest) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
    }
    let own = serde_json::from_slice::<Kind>(&manifest.bytes)
        .ok()
        .and_then(|kind| kind.media_type);
    matches!(
        own.as_deref().unwrap_or(&manifest.media_type),
        OCI_INDEX | DOCKER_LIST
    )
}
