//! `rvm save`.

use std::fs;
use std::io::{BufWriter, IsTerminal, Write};

use rvm_engine::image::Images;
use rvm_engine::root::Root;

use crate::arguments_image::Save;
use crate::failure::Failure;

pub fn run(root: &Root, command: &Save) -> Result<u8, Failure> {
    let images = Images::open(root)?;
    let Some(path) = &command.output else {
        if std::io::stdout().is_terminal() {
            return Err(Failure::new(
                1,
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        images.save(&command.images, std::io::stdout().lock())?;
        return Ok(0);
    };
    // A device or a pipe is written to; a name that leads to one is not to be replaced.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        images.save(&command.images, fs::File::options().write(true).open(path)?)?;
        return Ok(0);
    }
    // A file that is there stays until the new one is whole.
    let mut new = path.clone().into_os_string();
    new.push(format!(".{}.part", std::process::id()));
    let save = || -> Result<(), Failure> {
        let mut file = BufWriter::new(fs::File::create(&new)?);
        images.save(&command.images, &mut file)?;
        file.flush()?;
        Ok(fs::rename(&new, path)?)
    };
    let result = save();
    if result.is_err() {
        // What is left of it is of no use; that it cannot be deleted matters less than why it failed.
        let _ = fs::remove_file(&new);
    }
    result.map(|()| 0)
}
