//! Pushing: what the registry lacks, and the manifest after it.

use std::collections::HashSet;

use oci_spec::image::ImageManifest;
use serde::Deserialize;

use super::client::Client;
use super::config::RegistryConfig;
use super::endpoints::{Purpose, at_endpoints};
use super::error::RegistryError;
use super::http::{Http, Upload};
use crate::digest::Digest;
use crate::image::Image;
use crate::index::set_digest;
use crate::layers::in_threads;
use crate::load::LoadError;
use crate::progress::{Progress, Step};
use crate::reference::Reference;
use crate::store::{Store, StoreError};

/// Layers on their way at once, as with Docker.
const UPLOADS: usize = 3;

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
}

impl Store {
    /// Pushes the image of a name to the registry that the name says.
    pub fn push(
        &self,
        reference: &Reference,
        progress: &dyn Progress,
    ) -> Result<Pushed, RegistryError> {
        let Some(tag) = reference.tag().filter(|_| reference.digest().is_none()) else {
            return Err(RegistryError::PushDigest(reference.clone()));
        };
        let image = match self.resolve(&reference.to_string()) {
            Ok(image) if image.reference.is_some() => image,
            Ok(_) | Err(StoreError::NotFound(_)) => {
                return Err(RegistryError::NotHere(reference.familiar_name()));
            }
            Err(err) => return Err(err.into()),
        };
        // What is being sent is not to be collected.
        let _hold = self.hold()?;
        let manifest = self.blobs.read(&image.manifest).map_err(StoreError::from)?;
        let media_type = media_type(&manifest, &reference.familiar())?;
        let sources = self.sources(reference)?;
        let repositories: Vec<&str> = sources.iter().map(|source| &*source.path).collect();
        let http = Http::new(RegistryConfig::load()?);
        at_endpoints(&http, reference, Purpose::Push(&repositories), |client| {
            let push = Push {
                store: self,
                client,
                sources: &sources,
                progress,
            };
            push.blobs(&image)?;
            client.put_manifest(tag, &media_type, &manifest)
        })?;
        let workspace = self.workspace()?;
        self.index
            .update(&workspace, |entries| {
                set_digest(entries, reference, image.manifest)
            })
            .map_err(StoreError::from)?;
        Ok(Pushed {
            digest: image.manifest,
            size: manifest.len() as u64,
        })
    }

    /// Other repositories of the same registry, with the blobs that are known to be in them.
    fn sources(&self, reference: &Reference) -> Result<Vec<Source>, StoreError> {
        let mut sources: Vec<Source> = Vec::new();
        for listed in self.list()? {
            let Some(other) = listed.reference.filter(|_| listed.digest.is_some()) else {
                continue;
            };
            if other.domain() != reference.domain() || other.path() == reference.path() {
                continue;
            }
            let layers = listed.image.layers.iter().map(|layer| layer.digest);
            let blobs = layers.chain([listed.image.id]);
            match sources
                .iter_mut()
                .find(|source| source.path == other.path())
            {
                Some(source) => source.blobs.extend(blobs),
                None => sources.push(Source {
                    path: other.path().to_owned(),
                    blobs: blobs.collect(),
                }),
            }
        }
        Ok(sources)
    }
}

/// A repository that blobs can be taken from without being sent.
struct Source {
    path: String,
    blobs: HashSet<Digest>,
}

struct Push<'a> {
    store: &'a Store,
    client: &'a Client<'a>,
    sources: &'a [Source],
    progress: &'a dyn Progress,
}

impl Push<'_> {
    fn blobs(&self, image: &Image) -> Result<(), RegistryError> {
        // The smallest first: it shows whether anything can be pushed there at all.
        self.blob(&image.id, false)?;
        let mut layers: Vec<Digest> = Vec::new();
        for layer in &image.layers {
            if !layers.contains(&layer.digest) {
                self.progress.step(&layer.digest, Step::Waiting);
                layers.push(layer.digest);
            }
        }
        in_threads(UPLOADS, layers, |digest| self.blob(&digest, true)).map(drop)
    }

    fn blob(&self, digest: &Digest, shown: bool) -> Result<(), RegistryError> {
        let show = |step| {
            if shown {
                self.progress.step(digest, step);
            }
        };
        if self.client.has_blob(digest)? {
            show(Step::Exists);
            return Ok(());
        }
        let file = self.store.blobs.open(digest).map_err(StoreError::from)?;
        let size = file
            .metadata()
            .map_err(|err| RegistryError::Write(*digest, err))?
            .len();
        let sent = |done| show(Step::Moved { done, total: size });
        sent(0);
        let mut sources = self.sources.iter();
        let from = sources.find(|source| source.blobs.contains(digest));
        let from = from.map(|source| &*source.path);
        let upload = Upload {
            file: &file,
            size,
            sent: &sent,
        };
        self.client.upload(digest, upload, from)?;
        show(Step::Complete);
        Ok(())
    }
}

fn media_type(manifest: &[u8], name: &str) -> Result<String, RegistryError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
    }
    let bad = |source| {
        let what = "its manifest".to_owned();
        RegistryError::Document(name.to_owned(), LoadError::Json { what, source })
    };
    let _: ImageManifest = serde_json::from_slice(manifest).map_err(bad)?;
    let kind: Kind = serde_json::from_slice(manifest).map_err(bad)?;
    Ok(kind
        .media_type
        .unwrap_or_else(|| "application/vnd.oci.image.manifest.v1+json".to_owned()))
}
