//! Removing names, and images with their last ones.

use crate::image::Image;
use crate::index::Named;
use crate::store::{Removed, Store, StoreError};

impl Store {
    /// Removes a name, and the image with its last name; an id removes the image with all its names.
    ///
    /// Content that no image needs is deleted, except while another command brings images in: then the next
    /// removal does it. Layers in use by a container are to be held open by it.
    pub fn remove(&self, text: &str) -> Result<Removed, StoreError> {
        let image = self.resolve(text)?;
        self.remove_names(&image, false)
    }

    /// Removes names as [`remove`](Self::remove) does, but leaves the image here even without any.
    pub fn untag(&self, text: &str) -> Result<Removed, StoreError> {
        let image = self.resolve(text)?;
        self.remove_names(&image, true)
    }

    /// The other names of an image that was found by one; all of them when it was found by its id.
    pub fn other_names(&self, image: &Image) -> Result<usize, StoreError> {
        let goes = goes(image);
        let entries = self.index.read()?.into_iter();
        Ok(entries
            .filter(|entry| entry.manifest == image.manifest && entry.reference.is_some())
            .filter(|entry| image.reference.is_none() || !goes(entry))
            .count())
    }

    fn remove_names(&self, image: &Image, keep: bool) -> Result<Removed, StoreError> {
        let workspace = self.workspace()?;
        let goes = goes(image);
        let removed = self.index.update(&workspace, |entries| {
            let mut removed = Removed::default();
            let nameless = entries.iter().find(|entry| goes(entry)).cloned();
            entries.retain(|entry| {
                let goes = goes(entry);
                if goes {
                    removed.untagged.extend(entry.reference.clone());
                }
                !goes
            });
            if !entries.iter().any(|entry| entry.manifest == image.manifest) {
                match nameless.filter(|_| keep) {
                    Some(entry) => entries.push(Named {
                        reference: None,
                        ..entry
                    }),
                    None => removed.deleted.push(image.id),
                }
            }
            removed
        })?;
        self.collect_garbage()?;
        Ok(removed)
    }
}

/// Which entries a user means who names an image so.
fn goes(image: &Image) -> impl Fn(&Named) -> bool {
    let (reference, manifest) = (image.reference.clone(), image.manifest);
    move |entry| match &reference {
        Some(reference) => entry.answers_to(reference),
        None => entry.manifest == manifest,
    }
}
