//! `rvm export`, `rvm diff` and `rvm commit`.

use std::fs::File;
use std::io::{self, IsTerminal};

use rvm_engine::Engine;
use rvm_engine::image::Reference;
use rvm_engine::lifecycle::CommitRequest;

use crate::arguments_files::{Commit, Diff, Export};
use crate::failure::Failure;

pub fn export(engine: &Engine, command: &Export) -> Result<u8, Failure> {
    if command.output.is_none() && io::stdout().is_terminal() {
        return Err(Failure::new(
            1,
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    let container = engine.find(&command.container)?;
    let mut archive = engine.export(&container)?;
    match &command.output {
        None => drop(io::copy(&mut archive, &mut io::stdout().lock())?),
        Some(path) => {
            let failed = |error: io::Error| {
                Failure::new(
                    1,
                    format!("failed to export to {}: {error}", path.display()),
                )
            };
            // Beside the place where it is to be, so that half an archive never stands there.
            let mut beside = path.clone().into_os_string();
            beside.push(".partial");
            let written = File::create(&beside)
                .and_then(|mut file| io::copy(&mut archive, &mut file))
                .and_then(|_| std::fs::rename(&beside, path));
            if let Err(error) = written {
                let _ = std::fs::remove_file(&beside);
                return Err(failed(error));
            }
        }
    }
    archive.finish()?;
    Ok(0)
}

pub fn diff(engine: &Engine, command: &Diff) -> Result<u8, Failure> {
    let container = engine.find(&command.container)?;
    for change in engine.changes(&container)? {
        println!("{} {}", change.kind, change.path);
    }
    Ok(0)
}

pub fn commit(engine: &Engine, command: &Commit) -> Result<u8, Failure> {
    let container = engine.find(&command.container)?;
    let reference: Option<Reference> = command.name.as_deref().map(str::parse).transpose()?;
    if reference
        .as_ref()
        .is_some_and(|name| name.digest().is_some())
    {
        return Err(Failure::new(1, "cannot commit to digest reference"));
    }
    let changes = command.change.iter().map(|change| change.parse());
    let request = CommitRequest {
        reference,
        author: command.author.clone(),
        message: command.message.clone(),
        changes: changes.collect::<Result<_, _>>()?,
        freeze: command.pause,
    };
    println!("{}", engine.commit(&container, request)?);
    Ok(0)
}
