//! Copying files between the host and a container, by Docker's rules for what becomes of names and folders.

use std::ffi::{CString, OsStr};
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rvm_agent_protocol::{ArchiveAction, FileStat};
use rvm_archive::pack::{self, PackError, Packer};
use rvm_archive::unpack::{self, UnpackError, unpack};

use super::copied::{Copied, content_size};
use super::{ArchiveError, Engine};
use crate::container::Container;

/// How files are copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// With their owners.
    pub archive: bool,
    /// What a link as the source leads to, in place of the link.
    pub follow: bool,
}

/// Why files were not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source in the container.
    #[error("Could not find the file {path} in container {container}")]
    NotFound {
        /// Where it should be.
        path: String,
        /// Which container.
        container: String,
    },
    /// A path of the host's.
    #[error("cannot use {0}")]
    Host(PathBuf, #[source] io::Error),
    /// The destination's folder.
    #[error("invalid output path: directory \"{0}\" does not exist")]
    NoFolder(PathBuf),
    /// A folder was asked for where there is none.
    #[error("no such directory: {0}")]
    NotAFolder(String),
    /// A folder over a file.
    #[error("cannot copy directory: {0} is not a directory")]
    OverFile(String),
    /// A stream into what is no folder.
    #[error("destination \"{0}\" must be a directory")]
    StreamIntoFile(String),
    /// Packing.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Unpacking.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The container.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// What is known of a destination.
struct Destination<'a> {
    path: &'a str,
    found: Option<bool>,
}

impl Destination<'_> {
    /// The folder that is unpacked in, and the name that the source gets there.
    fn place(&self, source: &str, source_is_folder: bool) -> Result<(String, String), CopyError> {
        let contents = source.ends_with("/.") || source == ".";
        let name = match name(source) {
            Some(name) if !contents => name.to_owned(),
            _ => ".".to_owned(),
        };
        let wants_folder = is_folder_path(self.path);
        match self.found {
            Some(true) => return Ok((self.path.to_owned(), name)),
            Some(false) if source_is_folder => {
                return Err(CopyError::OverFile(self.path.to_owned()));
            }
            Some(false) if wants_folder => return Err(CopyError::NotAFolder(self.path.to_owned())),
            None if wants_folder && !source_is_folder => {
                return Err(CopyError::NotAFolder(self.path.to_owned()));
            }
            _ => {}
        }
        let plain = self.path.trim_end_matches("/.").trim_end_matches('/');
        let (folder, name) = match plain.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some((folder, name)) => (folder, name),
            None => (".", plain),
        };
        Ok((folder.to_owned(), name.to_owned()))
    }
}

/// Whether a path says that it is a folder's.
fn is_folder_path(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || path == "."
}

/// The last name of a path.
fn name(path: &str) -> Option<&str> {
    Path::new(path).file_name().and_then(OsStr::to_str)
}

impl Engine {
    /// Packs a file or a tree of a container for `to`.
    pub fn copy_out_as_archive(
        &self,
        container: &Container,
        source: &str,
        options: CopyOptions,
        to: &mut impl Write,
    ) -> Result<(), CopyError> {
        let (source, _, name) = self.source(container, source, options)?;
        let mut transfer = self.transfer(container, ArchiveAction::Pack { path: source, name })?;
        io::copy(&mut transfer, to).map_err(ArchiveError::Stream)?;
        Ok(transfer.finish()?)
    }

    /// Copies a file or a tree of a container to a path of the host.
    pub fn copy_out(
        &self,
        container: &Container,
        source: &str,
        to: &str,
        options: CopyOptions,
        copied: &Copied,
    ) -> Result<(), CopyError> {
        let (source, found, own_name) = self.source(container, source, options)?;
        let destination = Destination {
            path: to,
            found: std::fs::metadata(to).ok().map(|found| found.is_dir()),
        };
        // Under the name of the link that was followed.
        let renamed = match is_folder_path(&source) {
            true => source.clone(),
            false => own_name,
        };
        let (folder, name) = destination.place(&renamed, found.is_folder())?;
        let folder = PathBuf::from(folder);
        if !folder.is_dir() {
            return Err(CopyError::NoFolder(folder));
        }
        let root = open(&folder).map_err(|error| CopyError::Host(folder, error))?;
        let mut transfer = self.transfer(container, ArchiveAction::Pack { path: source, name })?;
        let options = unpack::Options {
            owners: options.archive,
            privileged: false,
        };
        if !found.is_folder() {
            let _ = copied.content.set(found.size);
        }
        let mut archive = copied.of(&mut transfer);
        unpack(root.as_fd(), Path::new(""), &mut archive, options)?;
        // What stands behind the archive's end.
        io::copy(&mut archive, &mut io::sink()).map_err(ArchiveError::Stream)?;
        Ok(transfer.finish()?)
    }

    /// Unpacks an archive in a folder of a container.
    pub fn copy_in_archive(
        &self,
        container: &Container,
        from: &mut impl Read,
        to: &str,
        options: CopyOptions,
        copied: &Copied,
    ) -> Result<(), CopyError> {
        let to = self.followed(container, to)?;
        match self.stat(container, &folder_of(&to))? {
            Some(found) if found.is_folder() => {}
            _ => return Err(CopyError::StreamIntoFile(to)),
        }
        Ok(self.unpack_in(container, &mut copied.of(from), to, options)?)
    }

    /// Copies a file or a tree of the host to a path of a container.
    pub fn copy_in(
        &self,
        container: &Container,
        source: &str,
        to: &str,
        options: CopyOptions,
        copied: &Copied,
    ) -> Result<(), CopyError> {
        let host = |error| CopyError::Host(source.into(), error);
        let mut path = std::path::absolute(source).map_err(host)?;
        if options.follow && !is_folder_path(source) {
            path = std::fs::canonicalize(&path).map_err(host)?;
        }
        // The path as it was written says by its end whether it is a folder's.
        let found = match is_folder_path(source) {
            true => std::fs::metadata(source),
            false => std::fs::symlink_metadata(&path),
        }
        .map_err(host)?;
        if is_folder_path(source) && !found.is_dir() {
            return Err(CopyError::NotAFolder(source.to_owned()));
        }
        let to = self.followed(container, to)?;
        let destination = Destination {
            path: &to,
            found: self.stat(container, &to)?.map(|found| found.is_folder()),
        };
        let (folder, name) = destination.place(source, found.is_dir())?;
        match self.stat(container, &folder_of(&folder))? {
            Some(found) if found.is_folder() => {}
            _ => {
                return Err(CopyError::NotFound {
                    path: folder,
                    container: container.id.to_string(),
                });
            }
        }
        std::thread::scope(|scope| {
            let (reader, writer) = io::pipe().map_err(host)?;
            let _ = copied.content.set(content_size(&path, &found));
            let packer = scope.spawn(move || pack_host(&path, found.is_dir(), &name, writer));
            let mut archive = copied.of(BufReader::new(reader));
            let sent = self.unpack_in(container, &mut archive, folder, options);
            // A reader that is gone is why the packer could not write, and says why itself.
            let packed = packer.join().unwrap_or(Ok(()));
            sent?;
            packed
        })
    }

    fn unpack_in(
        &self,
        container: &Container,
        from: &mut impl Read,
        path: String,
        options: CopyOptions,
    ) -> Result<(), ArchiveError> {
        let action = ArchiveAction::Unpack {
            path,
            owners: options.archive,
        };
        self.transfer(container, action)?.send(from)
    }

    /// A source in the container, with what it is and the name that it has in an archive.
    fn source(
        &self,
        container: &Container,
        path: &str,
        options: CopyOptions,
    ) -> Result<(String, FileStat, String), CopyError> {
        let not_found = || CopyError::NotFound {
            path: path.to_owned(),
            container: container.id.to_string(),
        };
        let own = match is_folder_path(path) && path.ends_with('.') {
            true => ".",
            false => name(path).unwrap_or("."),
        };
        let source = match options.follow {
            true => self.followed(container, path)?,
            false => path.to_owned(),
        };
        let found = self.stat(container, &source)?.ok_or_else(not_found)?;
        if is_folder_path(&source) && !found.is_folder() {
            return Err(CopyError::NotAFolder(path.to_owned()));
        }
        Ok((source, found, own.to_owned()))
    }

    /// Where a path of the container leads to if its last name is a link.
    fn followed(&self, container: &Container, path: &str) -> Result<String, CopyError> {
        let mut path = path.to_owned();
        // As many as the kernel follows.
        for _ in 0..40 {
            let Some(link) = self.stat(container, &path)?.and_then(|found| found.link) else {
                break;
            };
            let folder = Path::new(&path).parent().unwrap_or(Path::new("/"));
            path = folder.join(link).to_string_lossy().into_owned();
        }
        Ok(path)
    }
}

/// The path of a folder that may be a link.
fn folder_of(path: &str) -> String {
    format!("{}/.", path.trim_end_matches('/'))
}

fn pack_host(path: &Path, is_folder: bool, name: &str, to: impl Write) -> Result<(), CopyError> {
    let host = |error| CopyError::Host(path.to_owned(), error);
    let (folder, file) = match (is_folder, path.parent(), path.file_name()) {
        (false, Some(folder), Some(file)) => (folder, file.as_bytes()),
        _ => (path, &b"."[..]),
    };
    let file = CString::new(file).map_err(|error| host(error.into()))?;
    let folder = open(folder).map_err(host)?;
    let mut packer = Packer::new(
        io::BufWriter::with_capacity(64 << 10, to),
        pack::Options::default(),
    );
    packer.add(folder.as_fd(), &file, name.as_bytes())?;
    packer.finish()?;
    Ok(())
}

fn open(folder: &Path) -> io::Result<std::os::fd::OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(
        source: &str,
        folder: bool,
        path: &str,
        found: Option<bool>,
    ) -> Option<(String, String)> {
        Destination { path, found }.place(source, folder).ok()
    }

    fn at(folder: &str, name: &str) -> Option<(String, String)> {
        Some((folder.to_owned(), name.to_owned()))
    }

    #[test]
    fn names_become_what_docker_makes_of_them() {
        // Into a folder that is there: under its own name, or what is in it.
        assert_eq!(place("/a/b", true, "/dst", Some(true)), at("/dst", "b"));
        assert_eq!(place("/a/b/", true, "/dst/", Some(true)), at("/dst/", "b"));
        assert_eq!(place("/a/b/.", true, "/dst", Some(true)), at("/dst", "."));
        assert_eq!(place("file", false, "/dst", Some(true)), at("/dst", "file"));
        // To a name that is not there: it becomes the copy's.
        assert_eq!(place("/a/b", true, "/dst/c", None), at("/dst", "c"));
        assert_eq!(place("/a/b/.", true, "/dst/c", None), at("/dst", "c"));
        assert_eq!(place("file", false, "c", None), at(".", "c"));
        assert_eq!(place("file", false, "/c", None), at("/", "c"));
        // Over a file.
        assert_eq!(place("file", false, "/dst/c", Some(false)), at("/dst", "c"));
        assert_eq!(place("/a/b", true, "/dst/c", Some(false)), None);
        // A folder that is asked for and is not there.
        assert_eq!(place("file", false, "/dst/c/", None), None);
        assert_eq!(place("/a/b", true, "/dst/c/", None), at("/dst", "c"));
    }
}
