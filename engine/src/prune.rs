//! Removing what nobody uses: containers that do not run, and images that no container was made of.

use std::collections::HashSet;

use jiff::Timestamp;
pub use rvm_images::{Prune, Pruned};

use crate::container::Container;
use crate::id::ContainerId;
use crate::image::{Digest, Image, ImageError, Images};
use crate::lifecycle::{Engine, RemoveError};
use crate::options::moment::{self, InvalidMoment};
use crate::state::DatabaseError;
use crate::usage::folder_size;

/// What `--filter` of the prune commands leaves to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneFilter {
    labels: Vec<Label>,
    until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Label {
    key: String,
    value: Option<String>,
    /// Whether it has to be there, or must not be.
    wanted: bool,
}

/// A text that is no filter.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FilterError {
    /// It has no `=`.
    #[error(
        "invalid argument \"{0}\" for \"--filter\" flag: bad format of filter (expected name=value)"
    )]
    Format(String),
    /// Its name is unknown.
    #[error("invalid filter '{0}': expected label, label! or until")]
    Name(String),
    /// Its time is none.
    #[error(transparent)]
    Until(#[from] InvalidMoment),
}

/// Why something was not removed.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The image store.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A container.
    #[error(transparent)]
    Container(#[from] RemoveError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Containers that are gone.
#[derive(Clone, Debug, Default)]
pub struct PrunedContainers {
    /// Their ids.
    pub deleted: Vec<ContainerId>,
    /// Bytes on the disk that are free again.
    pub reclaimed: u64,
}

impl PruneFilter {
    /// Reads `label=KEY[=VALUE]`, `label!=KEY[=VALUE]` and `until=TIME`; all of them have to hold, of several times the last.
    pub fn parse(filters: &[String], now: Timestamp) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for text in filters {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| FilterError::Format(text.clone()))?;
            match name {
                "label" | "label!" => {
                    let (key, value) = value
                        .split_once('=')
                        .map_or((value, None), |(key, value)| (key, Some(value.to_owned())));
                    filter.labels.push(Label {
                        key: key.to_owned(),
                        value,
                        wanted: name == "label",
                    });
                }
                "until" => filter.until = Some(moment::parse(value, now)?),
                _ => return Err(FilterError::Name(name.to_owned())),
            }
        }
        Ok(filter)
    }

    fn takes_image(&self, image: &Image) -> bool {
        let config = image.config.config().as_ref();
        let labels = config.and_then(|config| config.labels().as_ref());
        let created = image.config.created().as_ref();
        self.takes(
            |key| {
                labels
                    .and_then(|labels| labels.get(key))
                    .map(String::as_str)
            },
            created.and_then(|time| time.parse().ok()),
        )
    }

    fn takes_container(&self, container: &Container) -> bool {
        let labels = &container.settings.labels;
        let label = |key: &str| labels.get(key).map(String::as_str);
        self.takes(label, Some(container.created))
    }

    fn takes<'a>(&self, label: impl Fn(&str) -> Option<&'a str>, made: Option<Timestamp>) -> bool {
        let fits = |condition: &Label| {
            let found = label(&condition.key).is_some_and(|found| {
                let value = condition.value.as_deref();
                value.is_none_or(|value| value == found)
            });
            found == condition.wanted
        };
        self.labels.iter().all(fits)
            && self
                .until
                .is_none_or(|until| made.is_some_and(|made| made < until))
    }
}

impl Engine {
    /// Removes images that no container was made of: those without a name, or all.
    pub fn prune_images(&self, which: Prune, filter: &PruneFilter) -> Result<Pruned, PruneError> {
        let images = Images::open(self.root())?;
        let store = images.store();
        // No container is made while it is judged whether there is one.
        let _alone = store.hold_names(true).map_err(ImageError::from)?;
        let in_use: HashSet<Digest> = self
            .list(true)?
            .iter()
            .filter_map(|container| container.settings.image_id.parse().ok())
            .collect();
        let pruned = store.prune(which, &in_use, |image| filter.takes_image(image));
        let pruned = pruned.map_err(ImageError::from)?;
        images.tell_deleted(&pruned.removed.deleted);
        Ok(pruned)
    }

    /// Removes containers that do not run.
    pub fn prune_containers(&self, filter: &PruneFilter) -> Result<PrunedContainers, PruneError> {
        let mut pruned = PrunedContainers::default();
        for container in self.list(true)? {
            if container.state.is_active() || !filter.takes_container(&container) {
                continue;
            }
            let size = folder_size(self.root().container(&container.id).path());
            match self.remove(&container, false) {
                Ok(()) => {
                    pruned.deleted.push(container.id);
                    pruned.reclaimed += size;
                }
                // Somebody has started it since.
                Err(
                    RemoveError::Running { .. }
                    | RemoveError::Paused(_)
                    | RemoveError::InProgress(_),
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(pruned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(filters: &[&str], labels: &[(&str, &str)], made: &str) -> bool {
        let filters: Vec<String> = filters.iter().map(|text| (*text).to_owned()).collect();
        let now = "2026-01-31T12:00:00Z".parse().expect("time");
        let filter = PruneFilter::parse(&filters, now).expect("filter");
        let label = |key: &str| {
            let mut labels = labels.iter();
            labels
                .find(|(name, _)| *name == key)
                .map(|(_, value)| *value)
        };
        filter.takes(label, made.parse().ok())
    }

    #[test]
    fn all_filters_have_to_hold() {
        let (old, new) = ("2026-01-31T10:00:00Z", "2026-01-31T11:59:00Z");
        let labels = [("keep", "yes")];
        assert!(takes(&[], &labels, new));
        assert!(takes(&["until=1h"], &labels, old) && !takes(&["until=1h"], &labels, new));
        assert!(takes(&["label=keep"], &labels, new) && !takes(&["label=keep=no"], &labels, new));
        assert!(!takes(&["label!=keep"], &labels, new) && takes(&["label!=keep=no"], &labels, new));
        assert!(!takes(&["label=keep", "until=1h"], &labels, new));
        assert!(!takes(&["until=1h"], &labels, "an unknown time"));
        let parse = |text: &str| PruneFilter::parse(&[text.to_owned()], Timestamp::UNIX_EPOCH);
        assert!(parse("label").is_err() && parse("x=y").is_err() && parse("until=x").is_err());
    }
}
