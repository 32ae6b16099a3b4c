//! `rvm events`.

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rvm_engine::Engine;
use rvm_engine::event::Event;
use rvm_engine::lifecycle::EventFilter;
use rvm_engine::options::moment;

use crate::arguments_lifecycle::Events;
use crate::failure::Failure;
use crate::template::Template;

pub fn run(engine: &Engine, command: &Events) -> Result<u8, Failure> {
    let now = Timestamp::now();
    let time = |text: &Option<String>| {
        text.as_ref()
            .map(|text| moment::parse(text, now))
            .transpose()
    };
    let format = match command.format.as_deref() {
        None | Some("") => None,
        Some("json") => Some(Template::parse("{{json .}}")?),
        Some(template) => Some(Template::parse(
            &template.replace("\\t", "\t").replace("\\n", "\n"),
        )?),
    };
    let filter = EventFilter::parse(&command.filter)?;
    let mut events = engine.events(time(&command.since)?, time(&command.until)?, filter)?;
    let mut stdout = io::stdout().lock();
    while let Some(event) = events.next_event()? {
        let line = match &format {
            Some(template) => template.render(&event.to_json())?,
            None => line(&event),
        };
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            result => result?,
        }
    }
    Ok(0)
}

/// As Docker prints one: the time, what happened to what, and the attributes in the order of their names.
fn line(event: &Event) -> String {
    let what = &event.what;
    let time = event
        .time
        .to_zoned(TimeZone::system())
        .strftime("%Y-%m-%dT%H:%M:%S.%9f%:z");
    let attributes: Vec<String> = what
        .attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let attributes = match attributes.as_slice() {
        [] => String::new(),
        list => format!(" ({})", list.join(", ")),
    };
    format!(
        "{time} {} {} {}{attributes}",
        what.kind.as_str(),
        what.action,
        what.actor
    )
}
