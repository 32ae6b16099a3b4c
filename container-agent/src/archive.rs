//! Files of a container as archives: a process of the agent's own that packs, unpacks or compares them, and nothing else.
//!
//! None of this is touched before it is asked for.

mod changes;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rvm_agent_protocol::{ArchiveAction, Failure, FileStat};
use rvm_archive::pack::{Options, PackError, Packer};
use rvm_archive::unpack::{self, UnpackError, unpack};

use crate::console;
use crate::rootfs::Root;
use crate::runtime;
use crate::stdio::Given;

/// Why the work could not be done.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// A path of the user's.
    #[error("cannot use {0}")]
    Path(PathBuf, #[source] io::Error),
    /// A root, or a part of one.
    #[error("the container's root file system cannot be read")]
    Root(#[source] io::Error),
    /// What was found could not be told.
    #[error("cannot write what was found")]
    Output(#[source] io::Error),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

/// Starts the process; its id. `first` is the container's first process while that runs: paths are then those that it sees.
pub fn start(
    action: ArchiveAction,
    root: &Root,
    first: Option<i32>,
    streams: &Given,
) -> Result<i32, Failure> {
    // Where the container runs, its own mounts are in place; layers and the whole root are without them.
    let seen = matches!(
        action,
        ArchiveAction::Stat { .. } | ArchiveAction::Pack { .. } | ArchiveAction::Unpack { .. }
    );
    runtime::work(streams, first.filter(|_| seen), || {
        match work(&action, root, seen && first.is_none()) {
            Ok(()) => 0,
            Err(e) => {
                let _ = io::stderr().write_all(console::chain(&e).as_bytes());
                1
            }
        }
    })
}

fn work(action: &ArchiveAction, root: &Root, change_root: bool) -> Result<(), Error> {
    if change_root {
        rustix::process::chroot(root.path()).map_err(|e| Error::Root(e.into()))?;
    }
    if !matches!(
        action,
        ArchiveAction::Changes { .. } | ArchiveAction::Layer { .. }
    ) {
        rustix::process::chdir("/").map_err(|e| Error::Root(e.into()))?;
    }
    let output = BufWriter::with_capacity(64 << 10, own(rustix::stdio::stdout())?);
    match action {
        ArchiveAction::Stat { path } => stat(Path::new(path), output),
        ArchiveAction::Pack { path, name } => pack(Path::new(path), name, output),
        ArchiveAction::Unpack { path, owners } => {
            let options = unpack::Options {
                owners: *owners,
                privileged: true,
            };
            let root = open_folder(Path::new("/"))?;
            let input = BufReader::with_capacity(64 << 10, own(rustix::stdio::stdin())?);
            Ok(unpack(root.as_fd(), Path::new(path), input, options)?)
        }
        ArchiveAction::Export => {
            let mut packer = Packer::new(output, Options::default());
            packer.add_contents(open_folder(&root.path())?)?;
            packer.finish()?;
            Ok(())
        }
        ArchiveAction::Layer { leave_out, .. } => {
            let is_left_out = |path: &[u8]| left_out(leave_out, path);
            let options = Options {
                overlay: Some(root.marks()),
                leave_out: Some(&is_left_out),
            };
            let mut packer = Packer::new(output, options);
            packer.add_contents(open_folder(&root.upper())?)?;
            packer.finish()?;
            Ok(())
        }
        ArchiveAction::Changes { leave_out } => {
            let base = root.mount_base().map_err(|e| Error::Root(e.into()))?;
            changes::write(
                (open_folder(&root.upper())?, root.marks()),
                open_folder(&base)?,
                &|path| left_out(leave_out, path),
                output,
            )
        }
    }
}

/// Whether a path without a slash in front is among those that have one.
fn left_out(list: &[String], path: &[u8]) -> bool {
    list.iter()
        .any(|left_out| left_out.as_bytes().strip_prefix(b"/") == Some(path))
}

fn stat(path: &Path, mut output: impl Write) -> Result<(), Error> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => Some(FileStat::of(
            &found,
            std::fs::read_link(path).ok().as_deref(),
        )),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            None
        }
        Err(e) => return Err(Error::Path(path.to_owned(), e)),
    };
    let text = serde_json::to_vec(&found).map_err(|e| Error::Output(e.into()))?;
    output
        .write_all(&text)
        .and_then(|()| output.flush())
        .map_err(Error::Output)
}

fn pack(path: &Path, name: &str, output: impl Write) -> Result<(), Error> {
    let failed = |e: io::Error| Error::Path(path.to_owned(), e);
    // With a slash behind it, a link is where it leads to.
    let text = path.as_os_str().as_bytes();
    let whole = text.ends_with(b"/") || text.ends_with(b"/.") || path.file_name().is_none();
    let (folder, file) = match (whole, path.parent(), path.file_name()) {
        (false, Some(folder), Some(file)) => (folder, file.as_bytes()),
        _ => (path, &b"."[..]),
    };
    let file = CString::new(file).map_err(|e| failed(e.into()))?;
    let folder = open_folder(if folder.as_os_str().is_empty() {
        Path::new("/")
    } else {
        folder
    })?;
    let mut packer = Packer::new(output, Options::default());
    packer.add(folder.as_fd(), &file, name.as_bytes())?;
    packer.finish()?;
    Ok(())
}

/// A standard stream without the buffers of the library's, which look for line breaks.
fn own(stream: BorrowedFd<'_>) -> Result<File, Error> {
    let own = rustix::io::dup(stream).map_err(|e| Error::Output(e.into()))?;
    Ok(own.into())
}

fn open_folder(path: &Path) -> Result<std::os::fd::OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|e| Error::Path(path.to_owned(), e.into()))
}
