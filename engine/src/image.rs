//! Images, as the engine uses the image store.

use std::collections::BTreeSet;
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

use crate::error::chain;
use crate::event::{Attributes, NewEvent};
use crate::root::Root;
use crate::state::Database;

/// The image store of a root folder.
#[derive(Debug)]
pub struct Images {
    store: Store,
    root: Root,
}

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
        Ok(Self {
            store: Store::open(root.path())?,
            root: root.clone(),
        })
    }

    /// Finds an image by a name or an id.
    pub fn resolve(&self, reference: &str) -> Result<Image, ImageError> {
        Ok(self.store.resolve(reference)?)
    }

    /// The layers of the image of that id as EROFS images, open, uppermost first, at most `max` of them.
    pub fn layers(&self, id: &str, max: usize) -> Result<Vec<File>, ImageError> {
        let image = self.store.resolve(id)?;
        Ok(self
            .store
            .layer_images(&image, max)?
            .into_iter()
            .map(|layer| layer.file)
            .collect())
    }

    /// All images.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        Ok(self.store.list()?)
    }

    /// Gives an image another name.
    pub fn tag(&self, image: &str, name: &Reference) -> Result<(), ImageError> {
        let image = self.store.resolve(image)?;
        self.store.tag(&image, name.clone())?;
        self.tell_image("tag", &image.id, &name.familiar());
        Ok(())
    }

    /// Fetches an image from its registry.
    pub fn pull(
        &self,
        name: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled, ImageError> {
        let pulled = self.store.pull(name, options, progress)?;
        self.tell_named("pull", &pulled.id, name);
        Ok(pulled)
    }

    /// Brings an image to the registry that its name says.
    pub fn push(&self, name: &Reference, progress: &dyn Progress) -> Result<Pushed, ImageError> {
        let pushed = self.store.push(name, progress)?;
        if let Ok(image) = self.store.resolve(&name.familiar()) {
            self.tell_named("push", &image.id, name);
        }
        Ok(pushed)
    }

    /// Makes an image of a root file system in a tarball, which is read to its end.
    pub fn import(
        &self,
        tarball: impl Read + Send,
        options: &ImportOptions,
    ) -> Result<Loaded, ImageError> {
        let imported = self.store.import(tarball, options)?;
        self.tell_loaded("import", std::slice::from_ref(&imported));
        Ok(imported)
    }

    /// Writes images to an archive that both Docker and OCI tools read.
    pub fn save(&self, images: &[String], archive: impl Write) -> Result<(), ImageError> {
        self.store.save(images, archive)?;
        let saved = images.iter().flat_map(|image| self.store.resolve(image));
        let ids: BTreeSet<String> = saved.map(|image| image.id.to_string()).collect();
        for id in ids {
            self.tell("save", &id, &id, self.labels(&id));
        }
        Ok(())
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Loads the images of an archive or a layout folder.
    pub fn load(&self, path: &Path) -> Result<Vec<Loaded>, ImageError> {
        let loaded = self.store.load(path, &LoadOptions::default())?;
        self.tell_loaded("load", &loaded);
        Ok(loaded)
    }

    /// Loads the images of an archive that is read to its end.
    pub fn load_stream(
        &self,
        archive: impl Read + Send,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, ImageError> {
        let options = LoadOptions::default();
        let loaded = self
            .store
            .load_stream_showing(archive, &options, progress)?;
        self.tell_loaded("load", &loaded);
        Ok(loaded)
    }

    fn tell_loaded(&self, action: &str, loaded: &[Loaded]) {
        for image in loaded {
            let name = image.references.first().map(Reference::familiar);
            self.tell_image(action, &image.id, &name.unwrap_or(image.id.to_string()));
        }
    }

    /// Tells of names and images that are gone.
    pub(crate) fn tell_removed(&self, image: &Digest, removed: &Removed) {
        for name in &removed.untagged {
            self.tell_image("untag", image, &name.familiar());
        }
        self.tell_deleted(&removed.deleted);
    }

    /// Tells of images that are gone.
    pub(crate) fn tell_deleted(&self, images: &[Digest]) {
        for id in images {
            self.tell_image("delete", id, &id.to_string());
        }
    }

    fn tell_image(&self, action: &str, image: &Digest, name: &str) {
        let id = image.to_string();
        self.tell(action, &id, name, self.labels(&id));
    }

    /// Tells of what a registry has a part in: there the actor is the whole name, as with Docker.
    fn tell_named(&self, action: &str, image: &Digest, name: &Reference) {
        let labels = self.labels(&image.to_string());
        self.tell(action, &name.familiar(), &name.familiar_name(), labels);
    }

    /// The labels of an image that is there.
    fn labels(&self, id: &str) -> Attributes {
        let image = self.store.resolve(id).ok();
        let config = image
            .as_ref()
            .and_then(|image| image.config.config().as_ref());
        let labels = config.and_then(|config| config.labels().clone());
        labels.into_iter().flatten().collect()
    }

    /// Records what has happened to an image. It has happened all the same if that can't be.
    fn tell(&self, action: &str, actor: &str, name: &str, labels: Attributes) {
        let event = NewEvent::image(action, actor, name, labels);
        let recorded =
            Database::open(&self.root.database()).and_then(|database| database.record(&event));
        if let Err(error) = recorded {
            tracing::warn!(error = chain(&error), "an event was not recorded");
        }
    }
}
