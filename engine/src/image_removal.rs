//! Removing images, but not from under their containers.

use crate::container::Container;
use crate::image::{ImageError, Images, Removed};
use crate::lifecycle::Engine;
use crate::state::DatabaseError;

/// Why an image was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveImageError {
    /// A container was made of the image that the name leads to.
    #[error(
        "conflict: unable to remove repository reference \"{name}\" (must force) - container {container} is using its referenced image {image}"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// The container.
        container: String,
        /// The image.
        image: String,
    },
    /// A container was made of the image.
    #[error(
        "conflict: unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    InUse {
        /// The image.
        image: String,
        /// The container.
        container: String,
    },
    /// A container runs.
    #[error(
        "conflict: unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    Running {
        /// The image.
        image: String,
        /// The container.
        container: String,
    },
    /// The id stands for several names.
    #[error(
        "conflict: unable to delete {0} (must be forced) - image is referenced in multiple repositories"
    )]
    SeveralNames(String),
    /// The image store.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl RemoveImageError {
    /// Whether there is nothing to be removed.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Image(error) if error.is_missing())
    }
}

impl Engine {
    /// Removes a name, or with an id an image with its names; the image goes with its last name.
    ///
    /// With `force`, names are taken from an image that stopped containers were made of; it stays for them, without a name.
    pub fn remove_image(&self, text: &str, force: bool) -> Result<Removed, RemoveImageError> {
        let images = Images::open(self.root())?;
        let store = images.store();
        // No container is made while it is judged whether there is one.
        let _alone = store.hold_names(true).map_err(ImageError::from)?;
        let image = images.resolve(text)?;
        let others = store.other_names(&image).map_err(ImageError::from)?;
        if image.reference.is_some() && others > 0 {
            let removed = store.remove(text).map_err(ImageError::from)?;
            images.tell_removed(&image.id, &removed);
            return Ok(removed);
        }
        if image.reference.is_none() && others > 1 && !force {
            return Err(RemoveImageError::SeveralNames(image.id.short()));
        }
        let users = self.containers_of(&image.id.to_string())?;
        let running = users.iter().find(|container| container.state.is_active());
        let refused = |container: &Container| (image.id.short(), container.id.short().to_owned());
        if let Some(container) = running.filter(|_| force || image.reference.is_none()) {
            let (image, container) = refused(container);
            return Err(RemoveImageError::Running { image, container });
        }
        let removed = match users.first().map(refused) {
            None => store.remove(text).map_err(ImageError::from)?,
            Some(_) if force => store.untag(text).map_err(ImageError::from)?,
            Some((image_id, container)) => {
                return Err(match &image.reference {
                    Some(name) => RemoveImageError::NameInUse {
                        name: name.familiar(),
                        container,
                        image: image_id,
                    },
                    None => RemoveImageError::InUse {
                        image: image_id,
                        container,
                    },
                });
            }
        };
        images.tell_removed(&image.id, &removed);
        Ok(removed)
    }

    /// The containers that were made of an image.
    pub fn containers_of(&self, image_id: &str) -> Result<Vec<Container>, DatabaseError> {
        let mut containers = self.list(true)?;
        containers.retain(|container| container.settings.image_id == image_id);
        Ok(containers)
    }
}
