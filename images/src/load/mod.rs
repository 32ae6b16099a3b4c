//! Loading images from files: OCI layout folders, OCI archives, `docker save` archives.
//!
//! Nothing of an image is in the store before all of it was read and verified; its name comes last.

mod docker;
mod layout;
mod members;

use std::io;
use std::path::PathBuf;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest};

use crate::blobs::MAX_JSON;
use crate::convert::ConvertError;
use crate::digest::{Digest, DigestError};
use crate::image::Layer;
use crate::index::IndexError;
use crate::platform::Platform;
use crate::reference::{Reference, ReferenceError};
use crate::tar::TarError;
pub(crate) use members::Members;
use members::Spooled;

/// How to load.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The name that the image gets instead of those in the archive.
    pub name: Option<Reference>,
    /// How much a layer, and the archive itself, may unpack to.
    pub limits: crate::layer::Limits,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: Digest,
    /// Its names; none when the archive has none for it.
    pub references: Vec<Reference>,
}

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The path cannot be opened.
    #[error("{path} cannot be opened")]
    Open {
        /// What was to be loaded.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is neither kind of archive.
    #[error(
        "this is not an image: there is neither an index.json (OCI) nor a manifest.json (docker save) in it"
    )]
    NotAnImage,
    /// The archive cannot be read to its end.
    #[error("the image archive is damaged")]
    Tar(#[source] TarError),
    /// It is compressed, and the compression does not know its end or its beginning.
    #[error("the image archive is damaged")]
    Compression(#[source] io::Error),
    /// A member's name leaves the archive.
    #[error("the image archive is refused: its member `{0}` points outside of it")]
    Escapes(String),
    /// The members together are above the limit.
    #[error("the image archive is refused: it holds more than {0} bytes")]
    TooLarge(u64),
    /// A member is missing.
    #[error("the image is incomplete: {0} is missing from it")]
    Missing(String),
    /// A member's digest is not the one that it is known by.
    #[error("the image is damaged: {expected} is in fact {found}")]
    Digest {
        /// What was asked for.
        expected: String,
        /// What was found.
        found: Digest,
    },
    /// A member's size is not the one that its descriptor says.
    #[error("the image is damaged: {digest} has {found} bytes instead of {expected}")]
    Size {
        /// The member.
        digest: Digest,
        /// By the descriptor.
        expected: u64,
        /// In the archive.
        found: u64,
    },
    /// A document is not what the specification says.
    #[error("the image is damaged: {what} cannot be understood")]
    Json {
        /// The document.
        what: String,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
    /// A document is larger than any registry would take.
    #[error("the image is damaged: {0} is above 4 MiB")]
    LargeJson(String),
    /// A digest in a document is malformed or of an algorithm that is not supported.
    #[error("the image is damaged: one of its documents has a bad digest")]
    BadDigest(#[from] DigestError),
    /// Manifest and configuration contradict each other.
    #[error("the image is damaged: its manifest has {layers} layers, its configuration {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// It cannot run here.
    #[error("the image is for {found}, this machine runs {wanted}")]
    Platform {
        /// What the image is for.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// Indexes within indexes without end.
    #[error("the image is refused: its indexes are nested too deeply")]
    Nesting,
    /// A name in the archive is none.
    #[error("the image has a bad name")]
    Name(#[from] ReferenceError),
    /// One name for several images.
    #[error("the archive has {0} images: a name can only be given to one")]
    SeveralImages(usize),
    /// A layer does not become a file system.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The names cannot be changed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store cannot be written.
    #[error("writing the image store {path} failed")]
    Store {
        /// What was written.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// An image found among the members, not verified beyond its documents.
pub(crate) struct Found {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: (Digest, u64),
    pub(crate) layers: Vec<Layer>,
    pub(crate) references: Vec<Reference>,
    /// By which digest a registry has it.
    pub(crate) digest: Option<Digest>,
}

/// All images among `members` that can run here.
pub(crate) fn find(members: &mut Members) -> Result<Vec<Found>, LoadError> {
    if let Some(index) = members.file("index.json")? {
        let images = layout::find(members, &index)?;
        // Docker up to 25 wrote an index without names next to its own manifest.
        if images.iter().any(|image| !image.references.is_empty())
            || members.file("manifest.json")?.is_none()
        {
            return Ok(images);
        }
    }
    match members.file("manifest.json")? {
        Some(manifest) => docker::find(members, &manifest),
        None => Err(LoadError::NotAnImage),
    }
}

fn image(
    members: &mut Members,
    manifest: Vec<u8>,
    references: Vec<Reference>,
) -> Result<Found, LoadError> {
    let (digest, size) = config_of(&manifest)?;
    let config = members.json(&digest, size)?;
    join(manifest, &config, references, &Platform::host())
}

/// Digest and size of the configuration that a manifest points to.
pub(crate) fn config_of(manifest: &[u8]) -> Result<(Digest, u64), LoadError> {
    let manifest: ImageManifest = parse("its manifest", manifest)?;
    Ok((digest_of(manifest.config())?, manifest.config().size()))
}

/// Joins a manifest and the configuration it points to.
pub(crate) fn join(
    manifest: Vec<u8>,
    config: &[u8],
    references: Vec<Reference>,
    wanted: &Platform,
) -> Result<Found, LoadError> {
    let parsed: ImageManifest = parse("its manifest", &manifest)?;
    let config_digest = digest_of(parsed.config())?;
    let config: ImageConfiguration = parse("its configuration", config)?;
    let found = Platform::of(&config);
    if wanted.rank(&found).is_none() {
        return Err(LoadError::Platform {
            found: found.to_string(),
            wanted: wanted.to_string(),
        });
    }
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != parsed.layers().len() {
        return Err(LoadError::LayerCount {
            layers: parsed.layers().len(),
            diff_ids: diff_ids.len(),
        });
    }
    let layers = parsed
        .layers()
        .iter()
        .zip(diff_ids)
        .map(|(layer, diff_id)| {
            Ok(Layer {
                diff_id: diff_id.parse()?,
                digest: digest_of(layer)?,
                size: layer.size(),
            })
        })
        .collect::<Result<_, LoadError>>()?;
    Ok(Found {
        manifest,
        config: (config_digest, parsed.config().size()),
        layers,
        references,
        digest: None,
    })
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, LoadError> {
    Ok(descriptor.digest().to_string().parse()?)
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, json: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(json).map_err(|source| LoadError::Json {
        what: what.to_owned(),
        source,
    })
}

fn check_json_size(what: &str, size: u64) -> Result<(), LoadError> {
    if size > MAX_JSON {
        Err(LoadError::LargeJson(what.to_owned()))
    } else {
        Ok(())
    }
}
