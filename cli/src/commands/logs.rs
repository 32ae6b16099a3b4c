//! `rvm logs`.

use std::io::{self, Write};

use jiff::Timestamp;
use rvm_engine::Engine;
use rvm_engine::log::{Entry, LogQuery, Stream};
use rvm_engine::options::moment;

use crate::arguments_show::Logs;
use crate::failure::Failure;

pub fn run(engine: &Engine, command: &Logs) -> Result<u8, Failure> {
    let now = Timestamp::now();
    let moment = |text: &Option<String>| text.as_ref().map(|text| moment::parse(text, now));
    let query = LogQuery {
        tail: tail(&command.tail)?,
        since: moment(&command.since).transpose()?,
        until: moment(&command.until).transpose()?,
        follow: command.follow,
    };
    let container = engine.find(&command.container)?;
    let mut logs = engine.logs(&container, query)?;
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
    while let Some(entry) = logs.next_entry()? {
        let out: &mut dyn Write = match entry.stream {
            Stream::Stdout => &mut stdout,
            Stream::Stderr => &mut stderr,
        };
        let mut line = String::new();
        if command.timestamps {
            line += &format!("{} ", entry.time);
        }
        if command.details {
            line += &format!("{} ", details(&entry));
        }
        line += &entry.log;
        match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            result => result?,
        }
    }
    Ok(0)
}

fn tail(text: &str) -> Result<Option<usize>, Failure> {
    match text {
        "all" | "" => Ok(None),
        // As Docker: anything negative is all of it.
        number if number.starts_with('-') => Ok(None),
        number => {
            let number = number.parse();
            number
                .map(Some)
                .map_err(|_| Failure::new(1, format!("invalid number of lines '{text}'")))
        }
    }
}

/// As Docker writes them: in the order of their names, with what could be taken for a separator escaped.
fn details(entry: &Entry) -> String {
    let pairs = entry.details.iter();
    let pairs = pairs.map(|(name, value)| {
        format!(
            "{}={}",
            crate::template::urlquery(name),
            crate::template::urlquery(value)
        )
    });
    pairs.collect::<Vec<_>>().join(",")
}
