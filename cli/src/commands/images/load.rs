//! `rvm load`.

use std::fs::File;
use std::io::IsTerminal;

use rvm_engine::image::Images;
use rvm_engine::root::Root;

use super::progress::{archive_bar, stream_bar};
use crate::arguments_image::Load;
use crate::failure::Failure;

pub fn run(root: &Root, command: &Load) -> Result<u8, Failure> {
    let images = Images::open(root)?;
    let shown = !command.quiet && std::io::stdout().is_terminal();
    let loaded = match &command.input {
        Some(path) if shown && path.is_file() => {
            let archive = File::open(path)?;
            let bar = archive_bar(archive.metadata()?.len());
            let loaded = images.load_stream(bar.wrap_read(archive));
            bar.finish_and_clear();
            loaded?
        }
        Some(path) => images.load(path)?,
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::new(
                1,
                "requested load from stdin, but stdin is a terminal: give a file with --input",
            ));
        }
        None if shown => {
            let bar = stream_bar();
            let loaded = images.load_stream(bar.wrap_read(std::io::stdin()));
            bar.finish_and_clear();
            loaded?
        }
        None => images.load_stream(std::io::stdin())?,
    };
    for image in loaded {
        if image.references.is_empty() {
            println!("Loaded image ID: {}", image.id);
        }
        for reference in &image.references {
            println!("Loaded image: {}", reference.familiar());
        }
    }
    Ok(0)
}
