//! Deletes content that no image needs any more.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::blobs::list;
use crate::digest::Digest;
use crate::image::file_systems;
use crate::store::{Store, StoreError};

impl Store {
    /// Deletes blobs and layers that no entry of the index leads to, unless another command is bringing
    /// content in: then the next collection finds them. Returns the bytes that they took on the disk.
    pub(crate) fn collect_garbage(&self) -> Result<u64, StoreError> {
        let Some(_alone) = self.try_hold_alone()? else {
            tracing::debug!("no garbage collection while images come in");
            return Ok(0);
        };
        let mut reclaimed = 0;
        let mut blobs = HashSet::new();
        let mut layers = HashSet::new();
        for entry in self.index.read()? {
            let image = self.image(&entry.manifest, None)?;
            blobs.extend([image.manifest, image.id]);
            blobs.extend(image.layers.iter().map(|layer| layer.digest));
            layers.extend(file_systems(&image.layers));
        }
        let folder = self.blobs.folder();
        for digest in list(folder).map_err(|source| self.io(folder, source))? {
            if !blobs.contains(&digest) {
                reclaimed += self.delete(&self.blobs.path(&digest))?;
            }
        }
        let folder = self.layers_folder();
        for entry in fs::read_dir(&folder).map_err(|source| self.io(&folder, source))? {
            let path = entry.map_err(|source| self.io(&folder, source))?.path();
            let id = path
                .file_stem()
                .and_then(|name| Digest::from_hex(name.to_str()?).ok());
            if id.is_some_and(|id| !layers.contains(&id)) {
                reclaimed += self.delete(&path)?;
            }
        }
        // Nobody is pulling: what pulls that were killed have left is of no use to any.
        let folder = self.tmp();
        for entry in fs::read_dir(&folder).map_err(|source| self.io(&folder, source))? {
            let entry = entry.map_err(|source| self.io(&folder, source))?;
            if entry.file_name().as_encoded_bytes().starts_with(b"blob-") {
                reclaimed += self.delete(&entry.path())?;
            }
        }
        Ok(reclaimed)
    }

    /// Deletes a file and returns what it took on the disk.
    fn delete(&self, path: &Path) -> Result<u64, StoreError> {
        let size = on_disk(path);
        match fs::remove_file(path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(self.io(path, err)),
            _ => Ok(size),
        }
    }
}

/// Bytes that a file takes on the disk, which are less than its length where it has holes; none if it is gone.
pub(crate) fn on_disk(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |meta| meta.blocks() * 512)
}
