//! `rvm cp`.

use std::io::{self, IsTerminal};

use rvm_engine::Engine;
use rvm_engine::lifecycle::CopyOptions;

use super::copy_progress::Progress;
use crate::arguments_files::Cp;
use crate::failure::Failure;

pub fn run(engine: &Engine, command: &Cp) -> Result<u8, Failure> {
    for (path, what) in [
        (&command.source, "source"),
        (&command.destination, "destination"),
    ] {
        if path.is_empty() {
            return Err(Failure::new(1, format!("{what} can not be empty")));
        }
    }
    let options = CopyOptions {
        archive: command.archive,
        follow: command.follow_link,
    };
    let (from, to) = (Place::of(&command.source), Place::of(&command.destination));
    match (&from, &to) {
        (Place::Container(name, path), Place::Host(to)) => {
            let container = engine.find(name)?;
            if *to == "-" {
                let mut out = io::stdout().lock();
                if out.is_terminal() {
                    return Err(Failure::new(
                        1,
                        "cowardly refusing to write an archive to a terminal: redirect it",
                    ));
                }
                engine.copy_out_as_archive(&container, path, options, &mut out)?;
                return Ok(0);
            }
            let shown = std::path::absolute(to)?;
            let progress = Progress::start(command.quiet, "Copying from container - ");
            engine.copy_out(&container, path, to, options, progress.copied())?;
            progress.end(&shown.to_string_lossy());
        }
        (Place::Host(from), Place::Container(name, path)) => {
            let container = engine.find(name)?;
            let progress = Progress::start(command.quiet, "Copying to container - ");
            let copied = progress.copied();
            match *from {
                "-" => {
                    let mut stdin = io::stdin().lock();
                    engine.copy_in_archive(&container, &mut stdin, path, options, copied)?;
                }
                from => engine.copy_in(&container, from, path, options, copied)?,
            }
            progress.end(&command.destination);
        }
        (Place::Container(..), Place::Container(..)) => {
            return Err(Failure::new(
                1,
                "copying between containers is not supported",
            ));
        }
        (Place::Host(_), Place::Host(_)) => {
            return Err(Failure::new(
                1,
                "must specify at least one container source",
            ));
        }
    }
    Ok(0)
}

/// Where files are.
enum Place<'a> {
    Host(&'a str),
    Container(&'a str, &'a str),
}

impl<'a> Place<'a> {
    /// Reads `CONTAINER:PATH`; what begins with a slash or a dot is the host's.
    fn of(text: &'a str) -> Self {
        match text.split_once(':') {
            Some((container, path)) if !text.starts_with(['/', '.']) && !container.is_empty() => {
                Self::Container(container, if path.is_empty() { "/" } else { path })
            }
            _ => Self::Host(text),
        }
    }
}
