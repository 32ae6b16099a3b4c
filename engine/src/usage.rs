//! What images and containers take on the disk.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use rvm_images::{ImageUsage, Usage};

use crate::container::{Container, State};
use crate::image::{Digest, ImageError, Images};
use crate::lifecycle::Engine;
use crate::state::DatabaseError;

/// What everything below a root folder takes, in bytes on the disk.
#[derive(Debug)]
pub struct DiskUsage {
    /// Images.
    pub images: Usage,
    /// All containers, and what each of them takes.
    pub containers: Vec<(Container, u64)>,
}

/// Why it could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The image store.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Engine {
    /// Measures everything.
    pub fn disk_usage(&self) -> Result<DiskUsage, UsageError> {
        let images = Images::open(self.root())?;
        let containers = self.list(true)?.into_iter().map(|container| {
            let size = self.written_bytes(&container);
            (container, size)
        });
        Ok(DiskUsage {
            containers: containers.collect(),
            images: images.store().usage().map_err(ImageError::from)?,
        })
    }
}

impl Engine {
    /// What a container has written itself, in bytes on the disk.
    pub fn written_bytes(&self, container: &Container) -> u64 {
        folder_size(self.root().container(&container.id).path())
    }
}

impl DiskUsage {
    /// How many containers were made of an image.
    pub fn containers_of(&self, image: &Digest) -> usize {
        let id = image.to_string();
        let containers = self.containers.iter();
        containers
            .filter(|(container, _)| container.settings.image_id == id)
            .count()
    }

    /// Images that containers were made of.
    pub fn active_images(&self) -> usize {
        let images = self.images.images.iter();
        images
            .filter(|usage| self.containers_of(&usage.image.id) > 0)
            .count()
    }

    /// What removing the other images would free.
    pub fn reclaimable_images(&self) -> u64 {
        let in_use: HashSet<Digest> = self
            .containers
            .iter()
            .filter_map(|(container, _)| container.settings.image_id.parse().ok())
            .collect();
        self.images.reclaimable(&in_use)
    }

    /// How many containers run.
    pub fn running_containers(&self) -> usize {
        let containers = self.containers.iter();
        containers
            .filter(|(container, _)| container.state == State::Running)
            .count()
    }

    /// What all containers take.
    pub fn container_bytes(&self) -> u64 {
        self.containers.iter().map(|(_, size)| size).sum()
    }

    /// What removing the containers that do not run would free.
    pub fn reclaimable_containers(&self) -> u64 {
        let containers = self.containers.iter();
        containers
            .filter(|(container, _)| !container.state.is_active())
            .map(|(_, size)| size)
            .sum()
    }
}

/// What a folder takes with all that is in it; what goes meanwhile counts nothing.
pub(crate) fn folder_size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => folder_size(&entry.path()),
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
