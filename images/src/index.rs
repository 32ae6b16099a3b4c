//! The names of images: the `index.json` of the store's image layout.
//!
//! A file rather than a database, because then the store is an OCI layout that `skopeo` and `umoci` read as
//! it is, because a start reads it in one go, and because a rename under a lock is all the safety that is needed: a
//! reader always sees a whole file, a writer's lock goes with its process.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use rustix::fs::FlockOperation;

use crate::digest::Digest;
use crate::reference::Reference;
use crate::workspace::{Workspace, lock_file, publish};

/// Annotation that holds a name in every tool's index.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The same for containerd and Docker, always in full.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// Ours: the digest by which a registry has the image, an index's where there is one.
const REGISTRY_DIGEST: &str = "dev.rvm.image.registry-digest";

/// Where names are kept.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    lock: PathBuf,
}

/// A manifest in the index; one with several names is in it several times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) manifest: Digest,
    pub(crate) size: u64,
    /// `None` when the image has lost its name to another one.
    pub(crate) reference: Option<Reference>,
    /// What the name led to in its registry; `None` when it was never there.
    pub(crate) digest: Option<Digest>,
}

/// Why the names cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Reading or writing failed.
    #[error("reading or writing the image store's {path} failed")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Somebody else wrote it.
    #[error(
        "the image store's {path} is not an OCI image index: delete it and load the images again"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Index {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            path: root.join("content/index.json"),
            lock: root.join("index.lock"),
        }
    }

    /// All entries, in the order in which they came.
    pub(crate) fn read(&self) -> Result<Vec<Named>, IndexError> {
        let json = match fs::read(&self.path) {
            Ok(json) => json,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(self.io(err)),
        };
        let index: ImageIndex =
            serde_json::from_slice(&json).map_err(|source| IndexError::Format {
                path: self.path.clone(),
                source,
            })?;
        Ok(index.manifests().iter().filter_map(named).collect())
    }

    /// Changes the entries; of two commands at once, one waits for the other.
    pub(crate) fn update<T>(
        &self,
        workspace: &Workspace,
        change: impl FnOnce(&mut Vec<Named>) -> T,
    ) -> Result<T, IndexError> {
        let _lock =
            lock_file(&self.lock, FlockOperation::LockExclusive).map_err(|err| self.io(err))?;
        let before = self.read()?;
        let mut entries = before.clone();
        let result = change(&mut entries);
        if entries != before {
            self.write(workspace, &entries)
                .map_err(|err| self.io(err))?;
        }
        Ok(result)
    }

    fn write(&self, workspace: &Workspace, entries: &[Named]) -> io::Result<()> {
        let mut index = ImageIndex::default();
        index.set_schema_version(2);
        index.set_media_type(Some(MediaType::ImageIndex));
        index.set_manifests(entries.iter().filter_map(descriptor).collect());
        let new = workspace.path().join("index.json");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(&index)?)?;
        file.sync_all()?;
        publish(&new, &self.path)
    }

    fn io(&self, source: io::Error) -> IndexError {
        IndexError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// Gives `reference` to a manifest; what had the name stays, without it, if it has no other.
pub(crate) fn set_name(
    entries: &mut Vec<Named>,
    manifest: Digest,
    size: u64,
    reference: Option<Reference>,
) {
    if let Some(reference) = &reference {
        let is_old = |entry: &Named| {
            entry.reference.as_ref() == Some(reference) && entry.manifest != manifest
        };
        if let Some(old) = entries.iter().position(is_old) {
            let has_other = entries
                .iter()
                .enumerate()
                .any(|(i, e)| i != old && e.manifest == entries[old].manifest);
            if has_other {
                entries.remove(old);
            } else {
                entries[old].reference = None;
            }
        }
        entries.retain(|entry| entry.manifest != manifest || entry.reference.is_some());
    }
    let is_there = entries
        .iter()
        .any(|e| e.manifest == manifest && (reference.is_none() || e.reference == reference));
    if !is_there {
        entries.push(Named {
            manifest,
            size,
            reference,
            digest: None,
        });
    }
}

/// Notes by which digest a registry has what `reference` names.
pub(crate) fn set_digest(entries: &mut [Named], reference: &Reference, digest: Digest) {
    entries
        .iter_mut()
        .filter(|entry| entry.reference.as_ref() == Some(reference))
        .for_each(|entry| entry.digest = Some(digest));
}

fn named(descriptor: &Descriptor) -> Option<Named> {
    Some(Named {
        manifest: descriptor.digest().to_string().parse().ok()?,
        size: descriptor.size(),
        reference: descriptor
            .annotations()
            .as_ref()
            .and_then(|a| a.get(REF_NAME)?.parse().ok()),
        digest: descriptor
            .annotations()
            .as_ref()
            .and_then(|a| a.get(REGISTRY_DIGEST)?.parse().ok()),
    })
}

fn descriptor(entry: &Named) -> Option<Descriptor> {
    let digest: oci_spec::image::Digest = entry.manifest.to_string().parse().ok()?;
    let mut descriptor = Descriptor::new(MediaType::ImageManifest, entry.size, digest);
    let mut annotations = HashMap::new();
    if let Some(reference) = &entry.reference {
        annotations
            .extend([REF_NAME, IMAGE_NAME].map(|key| (key.to_owned(), reference.to_string())));
    }
    annotations.extend(
        entry
            .digest
            .map(|digest| (REGISTRY_DIGEST.to_owned(), digest.to_string())),
    );
    descriptor.set_annotations((!annotations.is_empty()).then_some(annotations));
    Some(descriptor)
}
