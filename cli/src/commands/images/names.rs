//! `rvm tag` and `rvm rmi`.

use rvm_engine::Engine;
use rvm_engine::image::{Images, Reference};
use rvm_engine::root::Root;

use crate::arguments_image::{Rmi, Tag};
use crate::failure::Failure;

pub fn tag(root: &Root, command: &Tag) -> Result<u8, Failure> {
    let target: Reference = command.target.parse()?;
    if target.digest().is_some() {
        return Err(Failure::new(
            1,
            "refusing to create a tag with a digest reference",
        ));
    }
    Images::open(root)?.tag(&command.source, &target)?;
    Ok(0)
}

pub fn remove(engine: &Engine, command: &Rmi) -> Result<u8, Failure> {
    let mut failed = false;
    for image in &command.images {
        match engine.remove_image(image, command.force) {
            Ok(removed) => {
                for name in &removed.untagged {
                    println!("Untagged: {}", name.familiar());
                }
                for id in &removed.deleted {
                    println!("Deleted: {id}");
                }
            }
            Err(error) => {
                // As with Docker, nobody who forces minds that it is gone already.
                failed |= !(command.force && error.is_missing());
                eprintln!("rvm: {}", Failure::from(error));
            }
        }
    }
    Ok(failed.into())
}
