//! `rvm load`.

use std::io::IsTerminal;

use rvm_engine::image::Images;
use rvm_engine::root::Root;

use crate::arguments_image::Load;
use crate::failure::Failure;

pub fn run(root: &Root, command: &Load) -> Result<u8, Failure> {
    let images = Images::open(root)?;
    let loaded = match &command.input {
        Some(path) => images.load(path)?,
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::new(
                1,
                "requested load from stdin, but stdin is a terminal: give a file with --input",
            ));
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
