//! Images, as the engine uses the image store.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

pub use rvm_images::registry::{
    CredentialError, CredentialStore, Credentials, Hit, PullOptions, Pulled, Pushed, RegistryError,
    all_tags, credentials_key, login, open_url, search,
};
pub use rvm_images::{
    Change, ChangeError, Digest, Image, ImportError, ImportOptions, Listed, Loaded, Platform,
    PlatformError, Progress, Reference, ReferenceError, Removed, Silent, Step,
};
use rvm_images::{LayerImageError, LoadError, LoadOptions, SaveError, Store, StoreError};

use crate::root::Root;

/// The image store of a root folder.
#[derive(Debug)]
pub struct Images(Store);

/// Why an image is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is not here.
    #[error("No such image: {0}")]
    Missing(String),
    /// It is damaged, or the store is.
    #[error(transparent)]
    Store(StoreError),
    /// Its layers can't be mounted.
    #[error(transparent)]
    Layers(#[from] LayerImageError),
    /// It could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It could not be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// It could not be pulled or pushed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It could not be saved.
    #[error(transparent)]
    Save(SaveError),
    /// The name is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl ImageError {
    /// Whether the image only has to be pulled.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing(_))
    }
}

impl From<StoreError> for ImageError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(text) => Self::Missing(match text.parse::<Reference>() {
                Ok(name) => name.familiar(),
                Err(_) => text,
            }),
            other => Self::Store(other),
        }
    }
}

impl From<SaveError> for ImageError {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Store(error) => error.into(),
            other => Self::Save(other),
        }
    }
}

impl Images {
    /// Opens the store.
    pub fn open(root: &Root) -> Result<Self, ImageError> {
        Ok(Self(Store::open(root.path())?))
    }

    /// Finds an image by a name or an id.
    pub fn resolve(&self, reference: &str) -> Result<Image, ImageError> {
        Ok(self.0.resolve(reference)?)
    }

    /// The layers of the image of that id as EROFS images, open, uppermost first, at most `max` of them.
    pub fn layers(&self, id: &str, max: usize) -> Result<Vec<File>, ImageError> {
        let image = self.0.resolve(id)?;
        Ok(self
            .0
            .layer_images(&image, max)?
            .into_iter()
            .map(|layer| layer.file)
            .collect())
    }

    /// All images.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        Ok(self.0.list()?)
    }

    /// Gives an image another name.
    pub fn tag(&self, image: &str, name: &Reference) -> Result<(), ImageError> {
        Ok(self.0.tag(&self.0.resolve(image)?, name.clone())?)
    }

    /// Fetches an image from its registry.
    pub fn pull(
        &self,
        name: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled, ImageError> {
        Ok(self.0.pull(name, options, progress)?)
    }

    /// Brings an image to the registry that its name says.
    pub fn push(&self, name: &Reference, progress: &dyn Progress) -> Result<Pushed, ImageError> {
        Ok(self.0.push(name, progress)?)
    }

    /// Makes an image of a root file system in a tarball, which is read to its end.
    pub fn import(
        &self,
        tarball: impl Read + Send,
        options: &ImportOptions,
    ) -> Result<Loaded, ImageError> {
        Ok(self.0.import(tarball, options)?)
    }

    /// Writes images to an archive that both Docker and OCI tools read.
    pub fn save(&self, images: &[String], archive: impl Write) -> Result<(), ImageError> {
        Ok(self.0.save(images, archive)?)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0
    }

    /// Loads the images of an archive or a layout folder.
    pub fn load(&self, path: &Path) -> Result<Vec<Loaded>, ImageError> {
        Ok(self.0.load(path, &LoadOptions::default())?)
    }

    /// Loads the images of an archive that is read to its end.
    pub fn load_stream(
        &self,
        archive: impl Read + Send,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, ImageError> {
        let options = LoadOptions::default();
        Ok(self.0.load_stream_showing(archive, &options, progress)?)
    }
}
