//! `rvm import`.

use std::fs::File;
use std::path::Path;

use rvm_engine::image::{Images, ImportOptions, Reference, open_url};
use rvm_engine::root::Root;

use crate::arguments_image::Import;
use crate::failure::Failure;

pub fn run(root: &Root, command: &Import) -> Result<u8, Failure> {
    let mut options = ImportOptions::default();
    if let Some(name) = &command.name {
        let name: Reference = name.parse()?;
        if name.digest().is_some() {
            return Err(Failure::new(1, "cannot import digest reference"));
        }
        options.reference = Some(name);
    }
    for change in &command.change {
        options.changes.push(change.parse()?);
    }
    if let Some(platform) = &command.platform {
        options.platform = platform.clone();
    }
    let source = command.source.as_str();
    options.message = match &command.message {
        Some(message) => message.clone(),
        None => format!("Imported from {source}"),
    };
    let images = Images::open(root)?;
    let imported = if source == "-" {
        images.import(std::io::stdin(), &options)?
    } else if source.starts_with("http://") || source.starts_with("https://") {
        images.import(open_url(source)?, &options)?
    } else {
        let file = File::open(Path::new(source))
            .map_err(|error| Failure::new(1, format!("open {source}: {error}")))?;
        images.import(file, &options)?
    };
    println!("{}", imported.id);
    Ok(0)
}
