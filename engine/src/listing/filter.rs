//! `--filter` of lists of containers. Of several filters of one name one has to hold, of labels all.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use regex::Regex;

use super::ports;
use crate::container::{Container, NetworkMode};
use crate::image::{Image, Images};
use crate::lifecycle::{Engine, FindError};

/// What passes.
#[derive(Debug, Default)]
pub struct ContainerFilter {
    conditions: BTreeMap<&'static str, Vec<Condition>>,
}

/// Why a filter is none.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It is not `NAME=VALUE`.
    #[error(
        "invalid argument \"{0}\" for \"-f, --filter\" flag: bad format of filter (expected name=value)"
    )]
    Format(String),
    /// There is no filter of that name.
    #[error("invalid filter '{0}'")]
    Name(String),
    /// The filter does not take that value.
    #[error("invalid filter '{0}={1}'")]
    Value(&'static str, String),
    /// It names a container that is not there.
    #[error(transparent)]
    Find(#[from] FindError),
}

/// One filter.
#[derive(Debug)]
enum Condition {
    Id(Regex),
    Name(Regex),
    Label(String, Option<String>),
    State(&'static str),
    Health(String),
    Exited(i32),
    Before(Timestamp),
    Since(Timestamp),
    /// The ids of the images that are the ancestor or were made of it.
    Ancestor(HashSet<String>),
    Exposed(u16, u16, String),
    Published(u16, u16, String),
    Network(String),
    /// No container has what is asked for: volumes, tasks of a swarm.
    Never,
    /// Every container passes.
    Always,
}

const NAMES: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

const STATES: [&str; 7] = [
    "created",
    "dead",
    "exited",
    "paused",
    "removing",
    "restarting",
    "running",
];

const HEALTH: [&str; 4] = ["healthy", "none", "starting", "unhealthy"];

impl Engine {
    /// Reads filters such as `status=exited`.
    pub fn container_filter(&self, filters: &[String]) -> Result<ContainerFilter, FilterError> {
        let mut filter = ContainerFilter::default();
        for text in filters {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| FilterError::Format(text.clone()))?;
            let (name, value) = (name.trim().to_lowercase(), value.trim());
            let name = NAMES
                .into_iter()
                .find(|known| *known == name)
                .ok_or(FilterError::Name(name))?;
            let condition = self.condition(name, value)?;
            filter.conditions.entry(name).or_default().push(condition);
        }
        Ok(filter)
    }

    fn condition(&self, name: &'static str, value: &str) -> Result<Condition, FilterError> {
        let invalid = || FilterError::Value(name, value.to_owned());
        let pattern = || Regex::new(value).map_err(|_| invalid());
        Ok(match name {
            "id" => Condition::Id(pattern()?),
            "name" => Condition::Name(pattern()?),
            "label" => {
                let (key, wanted) = match value.split_once('=') {
                    Some((key, wanted)) => (key, Some(wanted.to_owned())),
                    None => (value, None),
                };
                Condition::Label(key.to_owned(), wanted)
            }
            "status" => {
                let known = STATES.into_iter().find(|state| *state == value);
                Condition::State(known.ok_or_else(invalid)?)
            }
            "health" if HEALTH.contains(&value) => Condition::Health(value.to_owned()),
            "health" => return Err(invalid()),
            "exited" => Condition::Exited(value.parse().map_err(|_| invalid())?),
            "before" => Condition::Before(self.find(value)?.created),
            "since" => Condition::Since(self.find(value)?.created),
            "ancestor" => Condition::Ancestor(self.descendants(value)),
            "expose" | "publish" => {
                let (first, last, protocol) = port_range(value).ok_or_else(invalid)?;
                if name == "expose" {
                    Condition::Exposed(first, last, protocol)
                } else {
                    Condition::Published(first, last, protocol)
                }
            }
            "network" => Condition::Network(value.to_owned()),
            "is-task" => match value {
                "true" | "1" => Condition::Never,
                "false" | "0" => Condition::Always,
                _ => return Err(invalid()),
            },
            "isolation" => Condition::Always,
            _ => Condition::Never,
        })
    }

    /// The ids of an image and of those that have its layers below their own. Of an image that is not here there are none.
    fn descendants(&self, name: &str) -> HashSet<String> {
        let Ok(images) = Images::open(self.root()) else {
            return HashSet::new();
        };
        let Ok(ancestor) = images.resolve(name) else {
            return HashSet::new();
        };
        let all = images.list().unwrap_or_default().into_iter();
        let made_of = |image: &Image| {
            let own = ancestor.layers.iter().map(|layer| layer.diff_id);
            image.layers.len() > ancestor.layers.len()
                && own.eq(image.layers[..ancestor.layers.len()]
                    .iter()
                    .map(|layer| layer.diff_id))
        };
        all.map(|listed| listed.image)
            .filter(made_of)
            .map(|image| image.id.to_string())
            .chain([ancestor.id.to_string()])
            .collect()
    }
}

impl ContainerFilter {
    /// Whether it says itself which states it wants.
    pub fn asks_for_states(&self) -> bool {
        self.conditions.contains_key("status")
    }

    /// Whether a container passes.
    pub fn takes(&self, container: &Container) -> bool {
        self.conditions.iter().all(|(name, conditions)| {
            let mut held = conditions
                .iter()
                .map(|condition| condition.holds(container));
            match *name {
                "label" => held.all(|holds| holds),
                _ => held.any(|holds| holds),
            }
        })
    }
}

impl Condition {
    fn holds(&self, container: &Container) -> bool {
        match self {
            Self::Id(pattern) => pattern.is_match(container.id.as_str()),
            // Scripts write `^/name$` too, because Docker's API has names so.
            Self::Name(pattern) => {
                pattern.is_match(container.name.as_str())
                    || pattern.is_match(&format!("/{}", container.name))
            }
            Self::Label(key, wanted) => {
                let found = container.settings.labels.get(key);
                found.is_some_and(|found| wanted.as_ref().is_none_or(|wanted| wanted == found))
            }
            Self::State(state) => container.state.shown() == *state,
            Self::Health(wanted) => health(container) == wanted,
            Self::Exited(code) => {
                container.finished.is_some()
                    && !container.state.is_active()
                    && container.exit_code == Some(*code)
            }
            Self::Before(time) => container.created < *time,
            Self::Since(time) => container.created > *time,
            Self::Ancestor(images) => images.contains(&container.settings.image_id),
            Self::Exposed(first, last, protocol) => ports::of(container)
                .iter()
                .any(|port| (*first..=*last).any(|number| port.is_exposed(number, protocol))),
            Self::Published(first, last, protocol) => ports::of(container)
                .iter()
                .any(|port| (*first..=*last).any(|number| port.is_published(number, protocol))),
            Self::Network(name) => match container.settings.network {
                NetworkMode::None => name == "none",
                NetworkMode::Bridge => name == "bridge",
            },
            Self::Never => false,
            Self::Always => true,
        }
    }
}

/// A container's health in Docker's words.
fn health(container: &Container) -> &str {
    container
        .health
        .as_ref()
        .map_or("none", |health| health.status.as_str())
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn port_range(text: &str) -> Option<(u16, u16, String)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && !protocol.is_empty()).then(|| (first, last, protocol.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges_are_read() {
        assert_eq!(port_range("80"), Some((80, 80, "tcp".to_owned())));
        assert_eq!(port_range("80-90/udp"), Some((80, 90, "udp".to_owned())));
        assert_eq!(port_range("90-80"), None);
        assert_eq!(port_range("x/tcp"), None);
    }
}
