//! Events: what has happened to containers, images and networks, as `events` tells it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
}

/// Further facts of an event, by their names.
pub type Attributes = BTreeMap<String, String>;

/// Something that happens and is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What it is about.
    pub kind: Kind,
    /// Docker's word for what happens, such as `start`.
    pub action: String,
    /// The id of what it is about.
    pub actor: String,
    /// Further facts.
    pub attributes: Attributes,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place among all events.
    pub number: i64,
    /// When; never before an event with a lower number.
    pub time: Timestamp,
    /// What has happened.
    pub what: NewEvent,
}

impl Kind {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
        }
    }

    /// A kind from the database.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Container, Self::Image, Self::Network]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl NewEvent {
    /// An event of an image, which has the image's labels among its facts.
    pub fn image(action: &str, actor: &str, name: &str, labels: Attributes) -> Self {
        let mut attributes = labels;
        attributes.insert("name".to_owned(), name.to_owned());
        Self {
            kind: Kind::Image,
            action: action.to_owned(),
            actor: actor.to_owned(),
            attributes,
        }
    }
}

/// Attributes from pairs.
pub fn attributes<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Attributes {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

impl Event {
    /// As Docker's API has it.
    pub fn to_json(&self) -> Value {
        let NewEvent {
            kind,
            action,
            actor,
            attributes,
        } = &self.what;
        let mut event = json!({
            "Type": kind.as_str(),
            "Action": action,
            "Actor": { "ID": actor, "Attributes": attributes },
            "scope": "local",
            "time": self.time.as_second(),
            "timeNano": self.time.as_nanosecond() as i64,
        });
        if *kind != Kind::Network {
            event["status"] = action.as_str().into();
            event["id"] = actor.as_str().into();
        }
        if let (Kind::Container, Some(image)) = (kind, attributes.get("image")) {
            event["from"] = image.as_str().into();
        }
        event
    }
}
