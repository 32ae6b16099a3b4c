//! Lists of containers: which ones, and what is said of each.

mod filter;
mod ports;
mod summary;

pub use filter::{ContainerFilter, FilterError};
pub use summary::Summary;

use crate::container::{Container, State};
use crate::image::Images;
use crate::lifecycle::Engine;
use crate::state::DatabaseError;

/// What to list.
#[derive(Debug, Default)]
pub struct Query {
    /// Those that do not run too.
    pub all: bool,
    /// The newest ones alone, whether they run or not.
    pub last: Option<usize>,
    /// Those that pass.
    pub filter: ContainerFilter,
    /// Say what each takes on the disk.
    pub sizes: bool,
}

impl Engine {
    /// Lists containers, the newest first.
    pub fn summaries(&self, query: &Query) -> Result<Vec<Summary>, DatabaseError> {
        let mut containers = self.list(true)?;
        let wanted = |container: &Container| {
            let shown = query.all
                || query.last.is_some()
                || query.filter.asks_for_states()
                || is_up(container.state);
            shown && query.filter.takes(container)
        };
        containers.retain(wanted);
        containers.truncate(query.last.unwrap_or(usize::MAX));
        // A list of containers is worth something without its images too.
        let images = Images::open(self.root()).ok();
        let listed = containers.into_iter();
        Ok(listed
            .map(|container| Summary::of(self, container, images.as_ref(), query.sizes))
            .collect())
    }
}

/// Whether a container is in the list that nobody asked anything of.
fn is_up(state: State) -> bool {
    state.is_up()
}
