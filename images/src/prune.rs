//! Removing the images that nobody uses (`rvm image prune`).

use std::collections::HashSet;

use crate::digest::Digest;
use crate::image::Image;
use crate::store::{Removed, Store, StoreError};

/// Which of the images that no container uses go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// Those without a name.
    Dangling,
    /// All of them.
    All,
}

/// What [`Store::prune`] did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// Names and images that are gone.
    pub removed: Removed,
    /// Bytes on the disk that are free again; while another command brings images in nothing is deleted, and
    /// the next removal does it.
    pub reclaimed: u64,
}

impl Store {
    /// Removes images whose ids are not `in_use` and of which `filter` is true, and the content that no image
    /// needs any more.
    ///
    /// The caller holds [`hold_names`](Self::hold_names) alone from before it looks at what is in use.
    pub fn prune(
        &self,
        which: Prune,
        in_use: &HashSet<Digest>,
        filter: impl Fn(&Image) -> bool,
    ) -> Result<Pruned, StoreError> {
        let workspace = self.workspace()?;
        let removed = self.index.update(&workspace, |entries| {
            let mut going = HashSet::new();
            for entry in &*entries {
                let is_candidate = which == Prune::All || entry.reference.is_none();
                if !is_candidate || going.contains(&entry.manifest) {
                    continue;
                }
                let image = self.image(&entry.manifest, entry.reference.clone())?;
                if !in_use.contains(&image.id) && filter(&image) {
                    going.insert(entry.manifest);
                }
            }
            let mut removed = Removed::default();
            for entry in entries
                .iter()
                .filter(|entry| going.contains(&entry.manifest))
            {
                let id = self.image(&entry.manifest, None)?.id;
                removed.untagged.extend(entry.reference.clone());
                if !removed.deleted.contains(&id) {
                    removed.deleted.push(id);
                }
            }
            entries.retain(|entry| !going.contains(&entry.manifest));
            Ok::<_, StoreError>(removed)
        })??;
        let reclaimed = self.collect_garbage()?;
        Ok(Pruned { removed, reclaimed })
    }
}
