//! `--cidfile`: a file that is made for the id of a container.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The file, until the id is in it; it goes when there comes no container.
#[derive(Debug)]
pub struct CidFile {
    path: PathBuf,
    file: File,
    written: bool,
}

impl CidFile {
    /// Makes the file, which must not be there.
    pub fn make(path: &Path) -> Result<Self, Failure> {
        match File::options().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Self {
                path: path.to_owned(),
                file,
                written: false,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::new(
                125,
                format!(
                    "container ID file found, make sure the other container isn't running or delete {}",
                    path.display()
                ),
            )),
            Err(error) => Err(Failure::new(
                125,
                format!(
                    "failed to create the container ID file {}: {error}",
                    path.display()
                ),
            )),
        }
    }

    /// Writes the id.
    pub fn write(mut self, id: &str) -> Result<(), Failure> {
        self.written = true;
        self.file.write_all(id.as_bytes()).map_err(|error| {
            Failure::new(
                125,
                format!(
                    "failed to write the container ID to {}: {error}",
                    self.path.display()
                ),
            )
        })
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if !self.written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
