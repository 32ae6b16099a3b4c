//! The store: images by name, their content, and their layers as file systems.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::{ImageConfiguration, ImageManifest};
use rustix::fs::FlockOperation;

use crate::blobs::{BlobError, Blobs};
use crate::digest::Digest;
use crate::image::{Image, Layer};
use crate::index::{Index, IndexError, Named, set_name};
use crate::progress::{Progress, Silent};
use crate::reference::{Reference, ReferenceError};
use crate::workspace::{Workspace, lock_file};

/// All images below one root folder.
///
/// Any number of processes may use a store at once, and any of them may be killed at any moment: what
/// becomes visible is whole, and what a killed process leaves behind the next one deletes.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    pub(crate) blobs: Blobs,
    pub(crate) index: Index,
}

/// Why an image cannot be found or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be used.
    #[error("the image store {path} cannot be used")]
    Io {
        /// The folder or a file in it.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// There is no such image.
    #[error("no image `{0}` is here: load or pull it first (`rvm images` lists those that are)")]
    NotFound(String),
    /// Several images have ids that start like this.
    #[error("`{0}` is the beginning of several images' ids: give more of its digits")]
    Ambiguous(String),
    /// The text names no image.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Content is missing or damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A document in the store cannot be understood.
    #[error("the image {digest} in the store is damaged: remove it and load or pull it again")]
    Json {
        /// The document's digest.
        digest: Digest,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Its manifest and configuration contradict each other.
    #[error(
        "the image {0} in the store is damaged: its manifest and its configuration differ in their layers"
    )]
    Layers(Digest),
    /// The names cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// An image as [`Store::list`] shows it: one for each name, and one for each image without a name.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The name.
    pub reference: Option<Reference>,
    /// By which digest its registry has it, if it came from one or was pushed to one.
    pub digest: Option<Digest>,
    /// The image.
    pub image: Image,
}

/// What [`Store::remove`] did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// Images that are gone with their last name.
    pub deleted: Vec<Digest>,
}

/// What a configuration has beyond the image specification.
#[derive(serde::Deserialize)]
struct Beyond {
    config: Option<BeyondConfig>,
}

#[derive(serde::Deserialize)]
struct BeyondConfig {
    #[serde(rename = "Healthcheck")]
    health_check: Option<serde_json::Value>,
}

impl Store {
    /// Opens the store below `root` (`/var/lib/rvm` for root), made if it is missing.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        let root = root.as_ref().to_owned();
        let content = root.join("content");
        let store = Self {
            blobs: Blobs::new(&content),
            index: Index::new(&root),
            root,
        };
        for folder in [store.blobs.folder(), &store.layers_folder(), &store.tmp()] {
            fs::create_dir_all(folder).map_err(|source| store.io(folder, source))?;
        }
        let marker = content.join("oci-layout");
        if !marker.exists() {
            fs::write(&marker, r#"{"imageLayoutVersion":"1.0.0"}"#)
                .map_err(|source| store.io(&marker, source))?;
        }
        Ok(store)
    }

    /// Finds an image by its name or by its id, of which the first digits are enough.
    ///
    /// A name wins over an id that looks the same, as in Docker.
    pub fn resolve(&self, text: &str) -> Result<Image, StoreError> {
        let entries = self.index.read()?;
        let reference = text.parse::<Reference>();
        if let Ok(reference) = &reference
            && let Some(entry) = entries.iter().find(|entry| entry.answers_to(reference))
        {
            return self.image(&entry.manifest, Some(reference.clone()));
        }
        match self.by_id(&entries, text)? {
            Some(image) => Ok(image),
            None => {
                if let Err(err) = reference
                    && !is_id(text)
                {
                    return Err(err.into());
                }
                Err(StoreError::NotFound(text.to_owned()))
            }
        }
    }

    /// All images, in the order in which they came.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        self.index
            .read()?
            .into_iter()
            .map(|entry| {
                let image = self.image(&entry.manifest, entry.reference.clone())?;
                Ok(Listed {
                    reference: entry.reference,
                    digest: entry.digest,
                    image,
                })
            })
            .collect()
    }

    /// Gives an image another name, which is taken from what had it.
    pub fn tag(&self, image: &Image, reference: Reference) -> Result<(), StoreError> {
        let workspace = self.workspace()?;
        let size = self.blobs.read(&image.manifest)?.len() as u64;
        Ok(self.index.update(&workspace, |entries| {
            set_name(entries, image.manifest, size, Some(reference))
        })?)
    }

    pub(crate) fn image(
        &self,
        manifest_digest: &Digest,
        reference: Option<Reference>,
    ) -> Result<Image, StoreError> {
        let bad = |digest: Digest| move |source| StoreError::Json { digest, source };
        let json = self.blobs.read(manifest_digest)?;
        let manifest: ImageManifest =
            serde_json::from_slice(&json).map_err(bad(*manifest_digest))?;
        let layers_differ = || StoreError::Layers(*manifest_digest);
        let id: Digest = manifest
            .config()
            .digest()
            .to_string()
            .parse()
            .map_err(|_| layers_differ())?;
        let json = self.blobs.read(&id)?;
        let config: ImageConfiguration = serde_json::from_slice(&json).map_err(bad(id))?;
        let beyond: Beyond = serde_json::from_slice(&json).map_err(bad(id))?;
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != manifest.layers().len() {
            return Err(layers_differ());
        }
        let layers = diff_ids
            .iter()
            .zip(manifest.layers())
            .map(|(diff_id, blob)| {
                Some(Layer {
                    diff_id: diff_id.parse().ok()?,
                    digest: blob.digest().to_string().parse().ok()?,
                    size: blob.size(),
                })
            })
            .collect::<Option<_>>()
            .ok_or_else(layers_differ)?;
        Ok(Image {
            id,
            manifest: *manifest_digest,
            reference,
            config,
            health_check: beyond.config.and_then(|config| config.health_check),
            layers,
        })
    }

    fn by_id(&self, entries: &[Named], text: &str) -> Result<Option<Image>, StoreError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if !is_id(text) {
            return Ok(None);
        }
        let mut found: Option<Image> = None;
        for entry in entries {
            let image = self.image(&entry.manifest, None)?;
            if image.id.hex().starts_with(digits) {
                if found.as_ref().is_some_and(|other| other.id != image.id) {
                    return Err(StoreError::Ambiguous(text.to_owned()));
                }
                found = Some(image);
            }
        }
        Ok(found)
    }

    /// A private folder for what is not yet to be seen.
    pub(crate) fn workspace(&self) -> Result<Workspace, StoreError> {
        let tmp = self.tmp();
        Workspace::new(&tmp).map_err(|source| self.io(&tmp, source))
    }

    /// Keeps garbage collection away while content is there that no name leads to yet.
    pub(crate) fn hold(&self) -> Result<File, StoreError> {
        let path = self.root.join("content.lock");
        lock_file(&path, FlockOperation::LockShared).map_err(|source| self.io(&path, source))
    }

    pub(crate) fn try_hold_alone(&self) -> Result<Option<File>, StoreError> {
        let path = self.root.join("content.lock");
        match lock_file(&path, FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(source) => Err(self.io(&path, source)),
        }
    }

    /// Held (shared) while a container is made of an image, (alone) while names are removed: so that no
    /// container is left without its image.
    pub fn hold_names(&self, alone: bool) -> Result<File, StoreError> {
        let path = self.root.join("names.lock");
        let operation = if alone {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::LockShared
        };
        lock_file(&path, operation).map_err(|source| self.io(&path, source))
    }

    pub(crate) fn layers_folder(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Where a blob is while it is downloaded; locked by who downloads it.
    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.tmp().join(format!("blob-{}", digest.hex()))
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn io(&self, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// Loads the images of an archive or a layout folder; see [`load`](crate::load).
    pub fn load(
        &self,
        path: &Path,
        options: &crate::load::LoadOptions,
    ) -> Result<Vec<crate::load::Loaded>, crate::load::LoadError> {
        crate::import::from_path(self, path, options, &Silent)
    }

    /// The same from a stream, which is read to its end.
    pub fn load_stream(
        &self,
        archive: impl Read + Send,
        options: &crate::load::LoadOptions,
    ) -> Result<Vec<crate::load::Loaded>, crate::load::LoadError> {
        self.load_stream_showing(archive, options, &Silent)
    }

    /// The same, telling how far each layer is once the stream is read.
    pub fn load_stream_showing(
        &self,
        archive: impl Read + Send,
        options: &crate::load::LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<crate::load::Loaded>, crate::load::LoadError> {
        crate::import::from_archive(self, archive, options, progress)
    }
}

impl Named {
    /// Whether a user who writes `reference` means this entry.
    pub(crate) fn answers_to(&self, reference: &Reference) -> bool {
        let Some(own) = &self.reference else {
            return false;
        };
        match reference.digest() {
            Some(digest) => {
                (digest == self.manifest || Some(digest) == self.digest)
                    && own.domain() == reference.domain()
                    && own.path() == reference.path()
            }
            None => own == reference,
        }
    }
}

/// Whether a text can be (the beginning of) an id.
fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    (1..=64).contains(&digits.len())
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}
