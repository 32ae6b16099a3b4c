//! From a tree of files to an archive.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::tar::{Entry, EntryKind};
use crate::writer::TarWriter;

/// Folders in folders: each holds a descriptor while what is in it is packed.
const MAX_DEPTH: usize = 256;

/// What marks a name as removed, and a folder as new, in a layer (image-spec, layer.md).
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Why a tree could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file.
    #[error("cannot read {}", String::from_utf8_lossy(.0))]
    Read(Vec<u8>, #[source] io::Error),
    /// The archive.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// Too many folders in one another.
    #[error("{} has more than {MAX_DEPTH} folders above it", String::from_utf8_lossy(.0))]
    Deep(Vec<u8>),
}

/// Whether a path in an archive is meant.
pub type Choice<'a> = &'a dyn Fn(&[u8]) -> bool;

/// Where overlayfs has its marks in an upper directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// In `trusted.overlay.*`.
    Trusted,
    /// In `user.overlay.*`, which it has to be told in a user namespace (`userxattr`).
    User,
}

/// What is packed, and how.
#[derive(Default)]
pub struct Options<'a> {
    /// The tree is the upper directory of an overlay with such marks: its whiteouts become those of a layer.
    pub overlay: Option<Marks>,
    /// Paths in the archive that are left out, with what is below them.
    pub leave_out: Option<Choice<'a>>,
}

/// Packs trees into one archive.
pub struct Packer<'a, W> {
    to: TarWriter<W>,
    options: Options<'a>,
    /// Where files of several names were first.
    names: HashMap<(u64, u64), Vec<u8>>,
    /// The file system of the tree: others are not entered.
    device: Option<u64>,
}

impl<'a, W: Write> Packer<'a, W> {
    /// Packs into `to`.
    pub fn new(to: W, options: Options<'a>) -> Self {
        Self {
            to: TarWriter::new(to),
            options,
            names: HashMap::new(),
            device: None,
        }
    }

    /// Packs the file or the tree that is `name` in `folder`, as `path`. A folder of another file system is packed empty.
    pub fn add(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
    ) -> Result<(), PackError> {
        self.add_at(folder, name, path.to_vec(), 0)
    }

    /// Packs what is in `folder`, each under its own name.
    pub fn add_contents(&mut self, folder: OwnedFd) -> Result<(), PackError> {
        let found =
            rustix::fs::fstat(&folder).map_err(|e| PackError::Read(b".".to_vec(), e.into()))?;
        self.device = Some(found.st_dev);
        self.contents(folder, b"", 0)
    }

    /// Ends the archive.
    pub fn finish(self) -> Result<W, PackError> {
        self.to.finish().map_err(PackError::Write)
    }

    fn add_at(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        path: Vec<u8>,
        depth: usize,
    ) -> Result<(), PackError> {
        if self
            .options
            .leave_out
            .is_some_and(|leave_out| leave_out(&path))
        {
            return Ok(());
        }
        let read = |e: Errno| PackError::Read(path.clone(), e.into());
        let found = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            // It went while its folder was read.
            Err(Errno::NOENT) if depth > 0 => return Ok(()),
            Err(e) => return Err(read(e)),
        };
        let mut entry = entry(&found, path.clone());
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inside = openat(folder, name, flags, Mode::empty()).map_err(read)?;
                entry.kind = EntryKind::Directory;
                entry.xattrs = self.xattrs(&inside);
                entry.path.push(b'/');
                self.to.append(&entry).map_err(PackError::Write)?;
                if *self.device.get_or_insert(found.st_dev) != found.st_dev {
                    return Ok(());
                }
                let marks = self.options.overlay;
                if marks.is_some_and(|marks| is_opaque(&inside, marks)) {
                    self.mark([&entry.path, OPAQUE].concat())?;
                }
                return self.contents(inside, &entry.path, depth + 1);
            }
            FileType::RegularFile => return self.file(folder, name, found, entry),
            FileType::Symlink => {
                let target = readlinkat(folder, name, Vec::new()).map_err(read)?;
                entry.kind = EntryKind::Symlink;
                entry.link = target.into_bytes();
            }
            FileType::CharacterDevice if self.options.overlay.is_some() && found.st_rdev == 0 => {
                let at = path
                    .iter()
                    .rposition(|byte| *byte == b'/')
                    .map_or(0, |at| at + 1);
                return self.mark([&path[..at], WHITEOUT, &path[at..]].concat());
            }
            FileType::CharacterDevice => entry.kind = EntryKind::CharDevice,
            FileType::BlockDevice => entry.kind = EntryKind::BlockDevice,
            FileType::Fifo => entry.kind = EntryKind::Fifo,
            // A socket is nothing without who listens on it.
            _ => return Ok(()),
        }
        self.to.append(&entry).map_err(PackError::Write)
    }

    fn file(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        found: Stat,
        mut entry: Entry,
    ) -> Result<(), PackError> {
        if found.st_nlink > 1 {
            let key = (found.st_dev, found.st_ino);
            if let Some(first) = self.names.get(&key) {
                entry.kind = EntryKind::HardLink;
                entry.link.clone_from(first);
                return self.to.append(&entry).map_err(PackError::Write);
            }
            self.names.insert(key, entry.path.clone());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(folder, name, flags, Mode::empty())
            .map_err(|e| PackError::Read(entry.path.clone(), e.into()))?;
        entry.size = u64::try_from(found.st_size).unwrap_or(0);
        entry.xattrs = self.xattrs(&file);
        self.to
            .append_file(&entry, &mut File::from(file))
            .map_err(PackError::Write)
    }

    /// `path` is empty, or ends with a slash.
    fn contents(&mut self, folder: OwnedFd, path: &[u8], depth: usize) -> Result<(), PackError> {
        if depth > MAX_DEPTH {
            return Err(PackError::Deep(path.to_vec()));
        }
        let read = |e: Errno| PackError::Read(path.to_vec(), e.into());
        for name in names(&folder).map_err(read)? {
            let inside = [path, name.to_bytes()].concat();
            self.add_at(folder.as_fd(), &name, inside, depth.max(1))?;
        }
        Ok(())
    }

    /// An empty file whose name says something about the layer below.
    fn mark(&mut self, path: Vec<u8>) -> Result<(), PackError> {
        let entry = Entry {
            path,
            ..Entry::default()
        };
        self.to.append(&entry).map_err(PackError::Write)
    }
}

impl<W> Packer<'_, W> {
    /// The extended attributes that belong to a file wherever it is. A file system without any has none.
    fn xattrs(&self, file: &OwnedFd) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut list = vec![0; 4096];
        let Ok(length) = rustix::fs::flistxattr(file, &mut list) else {
            return Vec::new();
        };
        list.truncate(length);
        let is_mark = |name: &[u8]| {
            self.options.overlay == Some(Marks::User) && name.starts_with(b"user.overlay.")
        };
        let mut found = Vec::new();
        for name in list.split(|byte| *byte == 0) {
            let belongs = name == b"security.capability" || name.starts_with(b"user.");
            if !belongs || is_mark(name) {
                continue;
            }
            let mut value = vec![0; 64 << 10];
            if let Ok(length) = rustix::fs::fgetxattr(file, name, &mut value) {
                value.truncate(length);
                found.push((name.to_vec(), value));
            }
        }
        found
    }
}

/// The names in a folder, sorted.
pub fn names(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a folder of an overlay's upper directory hides the one below it.
pub fn is_opaque(folder: &OwnedFd, marks: Marks) -> bool {
    let name = match marks {
        Marks::Trusted => "trusted.overlay.opaque",
        Marks::User => "user.overlay.opaque",
    };
    let mut value = [0; 1];
    matches!(rustix::fs::fgetxattr(folder, name, &mut value), Ok(1) if value == *b"y")
}

fn entry(found: &Stat, path: Vec<u8>) -> Entry {
    Entry {
        path,
        mode: (found.st_mode & 0o7777) as u16,
        uid: found.st_uid,
        gid: found.st_gid,
        mtime: found.st_mtime,
        mtime_nsec: u32::try_from(found.st_mtime_nsec).unwrap_or(0),
        device: (
            rustix::fs::major(found.st_rdev),
            rustix::fs::minor(found.st_rdev),
        ),
        ..Entry::default()
    }
}
