//! Reading events, also while they come.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::Engine;
use crate::event::{Event, Kind};
use crate::state::{DatabaseError, bell};

/// How many events are read at once.
const BATCH: usize = 256;

/// How long followers sleep at most: a command that is killed between its change and its word about it has told nobody.
const LOOK: Duration = Duration::from_secs(1);

/// Which events are wanted. Of the same name one has to fit, and of each name.
#[derive(Clone, Debug, Default)]
pub struct EventFilter(Vec<(String, String)>);

/// Why a text is no filter.
#[derive(Debug, thiserror::Error)]
pub enum EventFilterError {
    /// It has no `=`.
    #[error(
        "invalid argument \"{0}\" for \"--filter\" flag: bad format of filter (expected name=value)"
    )]
    Format(String),
    /// Its name is unknown.
    #[error("invalid filter '{0}'")]
    Name(String),
}

/// Why events can't be had.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The kernel does not tell of changes.
    #[error("cannot wait for events")]
    Watch(#[from] io::Error),
}

/// Events, one after the other.
#[derive(Debug)]
pub struct Events<'a> {
    engine: &'a Engine,
    read: VecDeque<Event>,
    last: i64,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    filter: EventFilter,
    bell: Bell,
}

impl EventFilter {
    /// Reads filters such as `container=web`, `event=start` or `label=key=value`.
    pub fn parse(filters: &[String]) -> Result<Self, EventFilterError> {
        const NAMES: [&str; 11] = [
            "container",
            "daemon",
            "event",
            "image",
            "label",
            "network",
            "plugin",
            "scope",
            "service",
            "type",
            "volume",
        ];
        let mut parsed = Vec::new();
        for filter in filters {
            let (name, value) = filter
                .split_once('=')
                .ok_or_else(|| EventFilterError::Format(filter.clone()))?;
            if !NAMES.contains(&name) {
                return Err(EventFilterError::Name(name.to_owned()));
            }
            parsed.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self(parsed))
    }

    fn takes(&self, event: &Event) -> bool {
        self.0.iter().all(|(name, _)| {
            let mut same = self.0.iter().filter(|(other, _)| other == name);
            same.any(|(_, value)| fits(event, name, value))
        })
    }
}

fn fits(event: &Event, name: &str, value: &str) -> bool {
    let what = &event.what;
    let attribute = |name: &str| what.attributes.get(name).map(String::as_str);
    let named = |kind| {
        let id = what.actor.strip_prefix("sha256:").unwrap_or(&what.actor);
        let name = value.strip_prefix('/').unwrap_or(value);
        // An id may be cut short; a name, which is the actor of what a registry has a part in, may not.
        let is_id = kind != Kind::Image || what.actor.starts_with("sha256:");
        let begins = id.starts_with(value) || what.actor.starts_with(value);
        what.kind == kind
            && (attribute("name") == Some(name)
                || what.actor == value
                || is_id && !value.is_empty() && begins)
    };
    match name {
        "container" => named(Kind::Container),
        "network" => named(Kind::Network),
        "image" => {
            // Behind the last slash: a registry has a port.
            let without_tag = |image: &str| {
                let begin = image.rfind('/').map_or(0, |slash| slash + 1);
                let end = image[begin..].find([':', '@']);
                end.is_some_and(|end| &image[..begin + end] == value)
            };
            named(Kind::Image)
                || ["image", "name"].into_iter().any(|name| {
                    let of_kind = (name == "image") == (what.kind == Kind::Container);
                    of_kind
                        && attribute(name).is_some_and(|image| image == value || without_tag(image))
                })
        }
        // `health_status` stands for all that it is followed by, and so do `exec_create` and its like.
        "event" => what.action == value || what.action.starts_with(&format!("{value}:")),
        "label" => {
            let (key, wanted) = match value.split_once('=') {
                Some((key, wanted)) => (key, Some(wanted)),
                None => (value, None),
            };
            attribute(key).is_some_and(|found| wanted.is_none_or(|wanted| wanted == found))
        }
        "type" => what.kind.as_str() == value,
        "scope" => value == "local",
        // There are no such things here.
        _ => false,
    }
}

impl Engine {
    /// The events since a time, and with no `until` those to come, for ever.
    pub fn events(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        filter: EventFilter,
    ) -> Result<Events<'_>, EventsError> {
        // Watched from before the first look.
        let bell = Bell::new(&bell(&self.root.database()))?;
        let last = match since {
            None if until.is_none_or(|until| until > Timestamp::now()) => {
                self.database.last_event()?
            }
            _ => 0,
        };
        Ok(Events {
            engine: self,
            read: VecDeque::new(),
            last,
            since,
            until,
            filter,
            bell,
        })
    }
}

impl Events<'_> {
    /// The next event, which is waited for; `None` when the end of the time that was asked for has come.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventsError> {
        loop {
            while let Some(event) = self.read.pop_front() {
                self.last = event.number;
                if self.until.is_some_and(|until| event.time > until) {
                    return Ok(None);
                }
                if self.since.is_none_or(|since| event.time >= since) && self.filter.takes(&event) {
                    return Ok(Some(event));
                }
            }
            let left = self
                .until
                .map(|until| until.duration_since(Timestamp::now()));
            self.read = self.engine.database.events(self.last, BATCH)?.into();
            if !self.read.is_empty() {
                continue;
            }
            // What was written before the end of the time has been read, since the time was looked at before.
            let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            self.bell.wait(left.unwrap_or(LOOK).min(LOOK))?;
        }
    }
}

/// Waits for somebody to record an event.
#[derive(Debug)]
struct Bell(std::os::fd::OwnedFd);

impl Bell {
    fn new(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // There is none yet where nothing has happened yet.
        let mut file = std::fs::File::options();
        file.create(true).append(true).open(path)?;
        inotify::add_watch(&inotify, path, WatchFlags::MODIFY)?;
        Ok(Self(inotify))
    }

    fn wait(&self, time: Duration) -> io::Result<()> {
        let time = Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: time.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // What has rung so far is one ring.
        let mut rung = [0; 4096];
        while matches!(rustix::io::read(&self.0, rung.as_mut_slice()), Ok(1..)) {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Attributes, NewEvent, attributes};

    #[test]
    fn filters_of_one_name_are_alternatives() {
        let event = Event {
            number: 1,
            time: Timestamp::UNIX_EPOCH,
            what: NewEvent {
                kind: Kind::Container,
                action: "health_status: healthy".to_owned(),
                actor: "abcdef".to_owned(),
                attributes: attributes([("name", "web"), ("image", "nginx:1"), ("k", "v")]),
            },
        };
        let takes = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|text| (*text).to_owned()).collect();
            EventFilter::parse(&filters).expect("filters").takes(&event)
        };
        for good in [
            &[][..],
            &["container=web"],
            &["container=/web"],
            &["container=abc"],
            &["container=db", "container=web"],
            &["event=health_status", "type=container"],
            &["image=nginx"],
            &["image=nginx:1"],
            &["label=k", "label=k=v"],
        ] {
            assert!(takes(good), "{good:?}");
        }
        for bad in [
            &["container=we"][..],
            &["container=web", "event=start"],
            &["type=image"],
            &["label=k=w"],
            &["image=nginx:2"],
            &["volume=web"],
        ] {
            assert!(!takes(bad), "{bad:?}");
        }
        let pulled = Event {
            what: NewEvent::image("pull", "reg:5000/x:1", "reg:5000/x", Attributes::new()),
            ..event
        };
        for (filter, taken) in [
            ("image=reg:5000/x:1", true),
            ("image=reg:5000/x", true),
            ("image=reg", false),
            ("type=image", true),
            ("type=container", false),
            ("network=reg:5000/x", false),
        ] {
            let filter = EventFilter::parse(&[filter.to_owned()]).expect("a filter");
            assert_eq!(filter.takes(&pulled), taken, "{filter:?}");
        }
        assert!(EventFilter::parse(&["x=y".to_owned()]).is_err());
        assert!(EventFilter::parse(&["container".to_owned()]).is_err());
    }

    #[test]
    fn a_follower_gets_every_event_in_its_order() {
        let folder = tempfile::tempdir().expect("folder");
        let open = || {
            let root = crate::root::Root::open(Some(folder.path().into())).expect("root");
            Engine::open(root).expect("engine")
        };
        let engine = open();
        let mut events = engine
            .events(None, None, EventFilter::default())
            .expect("events");
        let record = |from: usize| {
            let engine = open();
            for number in from..from + 50 {
                let event = NewEvent::image("pull", &number.to_string(), "x", Attributes::new());
                engine.record(&event).expect("record");
            }
        };
        std::thread::scope(|scope| {
            for from in [0, 100] {
                scope.spawn(move || record(from));
            }
            let mut seen: Vec<usize> = Vec::new();
            while seen.len() < 100 {
                let event = events.next_event().expect("event").expect("no end");
                seen.push(event.what.actor.parse().expect("number"));
            }
            let of = |from: usize| {
                let seen = seen.iter().copied();
                seen.filter(move |n| (from..from + 50).contains(n))
            };
            assert!(of(0).eq(0..50) && of(100).eq(100..150), "{seen:?}");
        });
        let until = Some(Timestamp::now());
        let mut all = engine
            .events(Some(Timestamp::UNIX_EPOCH), until, EventFilter::default())
            .expect("events");
        let mut count = 0;
        while all.next_event().expect("event").is_some() {
            count += 1;
        }
        assert_eq!(count, 100);
    }
}
