//! `rvm logs`.

use std::io::{self, Write};

use rvm_engine::Engine;
use rvm_engine::monitor::Stream;

use crate::arguments::Logs;
use crate::failure::Failure;

pub fn run(engine: &Engine, command: &Logs) -> Result<u8, Failure> {
    let tail = match command.tail.as_str() {
        "all" => None,
        // As Docker: anything negative is all of it.
        number if number.starts_with('-') => None,
        number => Some(
            number
                .parse()
                .map_err(|_| Failure::new(1, format!("invalid number of lines '{number}'")))?,
        ),
    };
    let container = engine.find(&command.container)?;
    let mut logs = engine.logs(&container, tail, command.follow)?;
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
    while let Some(entry) = logs.next_entry()? {
        let out: &mut dyn Write = match entry.stream {
            Stream::Stdout => &mut stdout,
            Stream::Stderr => &mut stderr,
        };
        let time = if command.timestamps {
            format!("{} ", entry.time)
        } else {
            String::new()
        };
        match write!(out, "{time}{}", entry.log).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            result => result?,
        }
    }
    Ok(0)
}
