//! What images take on the disk (`rvm system df`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::garbage::on_disk;
use crate::image::{Image, file_systems};
use crate::reference::Reference;
use crate::store::{Store, StoreError};

/// What all images take: blobs and file systems of layers, in bytes on the disk.
#[derive(Debug, Clone)]
pub struct Usage {
    /// One for each image, in the order in which they came.
    pub images: Vec<ImageUsage>,
    /// All of the store: what several images share counts once, what no image needs any more counts too.
    pub total: u64,
}

/// What one image takes, in bytes on the disk.
#[derive(Debug, Clone)]
pub struct ImageUsage {
    /// The image.
    pub image: Image,
    /// Its names.
    pub references: Vec<Reference>,
    /// All that it needs.
    pub size: u64,
    /// The part that another image needs too.
    pub shared: u64,
    /// The part that nothing else needs: it is free when this image alone is removed.
    pub unique: u64,
    files: HashMap<PathBuf, u64>,
}

impl Store {
    /// Measures all images.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let mut images: Vec<ImageUsage> = Vec::new();
        for listed in self.list()? {
            let same = |usage: &&mut ImageUsage| usage.image.manifest == listed.image.manifest;
            if let Some(known) = images.iter_mut().find(same) {
                known.references.extend(listed.reference);
                continue;
            }
            let files = self.files(&listed.image);
            images.push(ImageUsage {
                size: files.values().sum(),
                shared: 0,
                unique: 0,
                references: listed.reference.into_iter().collect(),
                image: listed.image,
                files,
            });
        }
        let mut users: HashMap<PathBuf, u32> = HashMap::new();
        for path in images.iter().flat_map(|image| image.files.keys()) {
            *users.entry(path.clone()).or_default() += 1;
        }
        for image in &mut images {
            let shared = image.files.iter().filter(|(path, _)| users[*path] > 1);
            image.shared = shared.map(|(_, size)| size).sum();
            image.unique = image.size - image.shared;
        }
        let mut total = 0;
        for folder in [self.blobs.folder(), &self.layers_folder()] {
            let entries = fs::read_dir(folder).map_err(|source| self.io(folder, source))?;
            for entry in entries {
                total += on_disk(&entry.map_err(|source| self.io(folder, source))?.path());
            }
        }
        Ok(Usage { images, total })
    }

    fn files(&self, image: &Image) -> HashMap<PathBuf, u64> {
        let layers = &image.layers;
        let blobs = layers.iter().map(|layer| layer.digest);
        let blobs = blobs
            .chain([image.id, image.manifest])
            .map(|digest| self.blobs.path(&digest));
        blobs
            .chain(file_systems(layers).flat_map(|id| [self.layer_path(&id), self.note_path(&id)]))
            .map(|path| (path.clone(), on_disk(&path)))
            .collect()
    }
}

impl Usage {
    /// What removing all images but those with these ids would free.
    pub fn reclaimable(&self, in_use: &HashSet<Digest>) -> u64 {
        let kept: HashMap<&PathBuf, u64> = self
            .images
            .iter()
            .filter(|usage| in_use.contains(&usage.image.id))
            .flat_map(|usage| usage.files.iter().map(|(path, &size)| (path, size)))
            .collect();
        self.total.saturating_sub(kept.values().sum())
    }
}
