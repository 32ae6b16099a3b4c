//! What an image is made of, once its manifest and configuration are read.

use oci_spec::image::ImageConfiguration;
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::reference::Reference;

/// An image in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the configuration: what Docker calls the image's id.
    pub id: Digest,
    /// Digest of the manifest: what `name@sha256:…` states.
    pub manifest: Digest,
    /// The name it was found by; `None` when that was an id.
    pub reference: Option<Reference>,
    /// What to run and how.
    pub config: ImageConfiguration,
    /// `Healthcheck` of its configuration as it stands there: Docker's, for which the image specification has no more than the name.
    pub health_check: Option<serde_json::Value>,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A layer, by both of its digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the tar stream that it unpacks to.
    pub diff_id: Digest,
    /// Digest of the blob, compressed or not.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
}

impl Image {
    /// Sizes of all layers' blobs together, in bytes.
    pub fn blob_size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

/// The ChainID of layers, lowest first (image-spec, config.md): names the result of applying them all.
///
/// Of a single layer it is the DiffID. `None` when there is no layer.
pub fn chain_id(layers: &[Layer]) -> Option<Digest> {
    let (first, rest) = layers.split_first()?;
    Some(rest.iter().fold(first.diff_id, |chain, layer| {
        let hash = Sha256::digest(format!("{chain} {}", layer.diff_id));
        Digest::from_bytes(hash.into())
    }))
}

/// Names a file system that corrects the directories' attributes of layers, lowest first, of which all but the
/// uppermost `count - 1` are merged.
pub(crate) fn correction_id(layers: &[Layer], count: usize) -> Option<Digest> {
    let chain = chain_id(layers)?;
    Some(Digest::of(
        format!("{chain} directories of {count}").as_bytes(),
    ))
}

/// The names of all file systems that can have been made for an image of `layers`.
pub(crate) fn file_systems(layers: &[Layer]) -> impl Iterator<Item = Digest> {
    let single = layers.iter().map(|layer| layer.diff_id);
    let merged = (1..=layers.len()).filter_map(|n| chain_id(&layers[..n]));
    let corrections = (1..=layers.len()).filter_map(|n| correction_id(layers, n));
    single.chain(merged).chain(corrections)
}
