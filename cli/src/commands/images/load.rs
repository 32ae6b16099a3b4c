//! `rvm load`.

use std::fs::File;
use std::io::{IsTerminal, Read};

use rvm_engine::image::{Images, Loaded, Silent};
use rvm_engine::root::Root;

use super::progress::{Bars, LOAD, Stream};
use crate::arguments_image::Load;
use crate::failure::Failure;

pub fn run(root: &Root, command: &Load) -> Result<u8, Failure> {
    let images = Images::open(root)?;
    let shown = !command.quiet && std::io::stdout().is_terminal();
    let loaded = match &command.input {
        Some(path) if shown && path.is_file() => {
            let archive = File::open(path)?;
            let length = archive.metadata()?.len();
            load_shown(&images, archive, Some(length))?
        }
        Some(path) => images.load(path)?,
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::new(
                1,
                "requested load from stdin, but stdin is a terminal: give a file with --input",
            ));
        }
        None if shown => load_shown(&images, std::io::stdin(), None)?,
        None => images.load_stream(std::io::stdin(), &Silent)?,
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

/// Loads with a bar for the archive, and one for each layer that is new here.
fn load_shown(
    images: &Images,
    archive: impl Read + Send,
    length: Option<u64>,
) -> Result<Vec<Loaded>, Failure> {
    let bars = Bars::new(LOAD, Stream::Stdout, None);
    let bar = bars.archive(length);
    let loaded = images.load_stream(bar.wrap_read(archive), &bars);
    bar.finish_and_clear();
    Ok(loaded?)
}
