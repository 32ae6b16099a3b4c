//! Images of a `docker save` archive: `manifest.json` lists configurations, layers and names.

use std::fs::File;
use std::io::Read;

use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType};
use serde::Deserialize;

use super::{Found, LoadError, Members, Spooled, image, parse};
use crate::compression::Compression;

/// One element of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The images of `manifest.json`, each with a manifest made from what it says.
pub(super) fn find(members: &mut Members, manifest: &Spooled) -> Result<Vec<Found>, LoadError> {
    let saved: Vec<Saved> = parse("manifest.json", &members.read(manifest)?)?;
    saved
        .into_iter()
        .map(|saved| saved_image(members, saved))
        .collect()
}

fn saved_image(members: &mut Members, saved: Saved) -> Result<Found, LoadError> {
    let config = member(members, &saved.config)?;
    // Old archives name the configuration by its digest.
    if let Some(hex) = saved
        .config
        .strip_suffix(".json")
        .filter(|hex| hex.len() == 64)
        && hex != config.digest.hex()
    {
        return Err(LoadError::Digest {
            expected: saved.config,
            found: config.digest,
        });
    }
    let layers = saved
        .layers
        .iter()
        .map(|name| {
            let layer = member(members, name)?;
            descriptor(media_type(&layer)?, &layer)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, &config)?)
        .layers(layers)
        .build()
        .ok()
        .and_then(|manifest| serde_json::to_vec(&manifest).ok())
        .ok_or(LoadError::NotAnImage)?;
    let references = saved
        .repo_tags
        .unwrap_or_default()
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()?;
    image(members, manifest, references)
}

fn member(members: &mut Members, name: &str) -> Result<Spooled, LoadError> {
    members
        .file(name)?
        .ok_or_else(|| LoadError::Missing(name.to_owned()))
}

fn descriptor(media_type: MediaType, member: &Spooled) -> Result<Descriptor, LoadError> {
    let digest: oci_spec::image::Digest = member
        .digest
        .to_string()
        .parse()
        .map_err(|_| LoadError::Missing(member.digest.to_string()))?;
    Ok(Descriptor::new(media_type, member.size, digest))
}

fn media_type(layer: &Spooled) -> Result<MediaType, LoadError> {
    let mut first = Vec::new();
    File::open(&layer.path)
        .and_then(|file| file.take(4).read_to_end(&mut first))
        .map_err(|source| LoadError::Store {
            path: layer.path.clone(),
            source,
        })?;
    Ok(match Compression::detect(&first) {
        Compression::None => MediaType::ImageLayer,
        Compression::Gzip => MediaType::ImageLayerGzip,
        Compression::Zstd => MediaType::ImageLayerZstd,
    })
}
