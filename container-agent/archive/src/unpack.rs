//! From an archive to a tree of files, inside one folder whatever the archive's names and links say.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
    chownat, fsetxattr, linkat, mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;

use crate::tar::{Entry, EntryKind, TarError, TarReader};

/// Folders whose times are set at the end; of more, the rest keep the times of their unpacking.
const MAX_FOLDERS: usize = 1 << 20;

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] TarError),
    /// A name that leads out.
    #[error("the archive has the name {0}, which leads out of where it is unpacked")]
    Outside(PathBuf),
    /// A folder stands where another file is to be.
    #[error("cannot overwrite directory \"{0}\" with non-directory")]
    OverDirectory(PathBuf),
    /// Another file stands where a folder is to be.
    #[error("cannot overwrite non-directory \"{0}\" with directory")]
    OverFile(PathBuf),
    /// A file could not be made.
    #[error("cannot make {0}")]
    Make(PathBuf, #[source] io::Error),
    /// A kind of file that is not unpacked here.
    #[error("{0} is a device or of an unknown kind, which is not unpacked here")]
    Kind(PathBuf),
}

/// How an archive is unpacked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Files get the owners that the archive says, and not the caller.
    pub owners: bool,
    /// Set-user-id and set-group-id bits, devices and extended attributes are made. Not where the archive comes from someone who
    /// must not have a say in who the caller's files run as.
    pub privileged: bool,
}

/// Unpacks an archive to its end, at the path `at` below `root`, which nothing leads out of.
pub fn unpack(
    root: BorrowedFd<'_>,
    at: &Path,
    archive: impl Read,
    options: Options,
) -> Result<(), UnpackError> {
    let mut archive = TarReader::new(archive);
    let mut folders = Vec::new();
    while let Some(entry) = archive.next()? {
        let path = inside(&entry.path)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The folder itself is there, and its attributes are its own.
            continue;
        };
        let path = at.join(path);
        let made = |e: Errno| UnpackError::Make(path.clone(), e.into());
        let parent = folder(root, path.parent().unwrap_or(Path::new(""))).map_err(made)?;
        let place = Place {
            root,
            at,
            parent,
            name,
            path: path.clone(),
        };
        place.make(&entry, &mut archive, options)?;
        if entry.kind == EntryKind::Directory && folders.len() < MAX_FOLDERS {
            folders.push((path, times(&entry)));
        }
    }
    // What is made in a folder changes its times.
    for (path, times) in folders.into_iter().rev() {
        if let Ok(folder) = resolve(root, &path, OFlags::RDONLY | OFlags::DIRECTORY) {
            let _ = rustix::fs::futimens(folder, &times);
        }
    }
    Ok(())
}

/// Where an entry is to be.
struct Place<'a> {
    root: BorrowedFd<'a>,
    at: &'a Path,
    parent: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl Place<'_> {
    fn make(
        &self,
        entry: &Entry,
        data: &mut TarReader<impl Read>,
        options: Options,
    ) -> Result<(), UnpackError> {
        let there = match statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Some(FileType::from_raw_mode(found.st_mode)),
            Err(Errno::NOENT) => None,
            Err(e) => return Err(self.failed(e)),
        };
        let made = match (entry.kind, there) {
            (EntryKind::Directory, Some(FileType::Directory)) => Ok(()),
            (EntryKind::Directory, Some(_)) => {
                return Err(UnpackError::OverFile(self.path.clone()));
            }
            (EntryKind::Directory, None) => mkdirat(&self.parent, &self.name, Mode::RWXU),
            (_, Some(FileType::Directory)) => {
                return Err(UnpackError::OverDirectory(self.path.clone()));
            }
            (EntryKind::File, there) => return self.file(entry, there.is_some(), data, options),
            (kind, there) => {
                if there.is_some() {
                    unlinkat(&self.parent, &self.name, AtFlags::empty())
                        .map_err(|e| self.failed(e))?;
                }
                self.special(kind, entry, options)?
            }
        };
        made.map_err(|e| self.failed(e))?;
        if entry.kind == EntryKind::HardLink {
            return Ok(());
        }
        self.attributes(entry, options).map_err(|e| self.failed(e))
    }

    fn special(
        &self,
        kind: EntryKind,
        entry: &Entry,
        options: Options,
    ) -> Result<Result<(), Errno>, UnpackError> {
        let node = |kind, device| {
            mknodat(
                &self.parent,
                &self.name,
                kind,
                Mode::RUSR | Mode::WUSR,
                device,
            )
        };
        let (major, minor) = entry.device;
        let device = rustix::fs::makedev(major, minor);
        Ok(match kind {
            EntryKind::Symlink => {
                symlinkat(OsStr::from_bytes(&entry.link), &self.parent, &self.name)
            }
            EntryKind::HardLink => {
                let target = self.at.join(inside(&entry.link)?);
                let name = target.file_name().unwrap_or_default();
                folder(self.root, target.parent().unwrap_or(Path::new(""))).and_then(|from| {
                    linkat(&from, name, &self.parent, &self.name, AtFlags::empty())
                })
            }
            EntryKind::Fifo => node(FileType::Fifo, 0),
            EntryKind::CharDevice if options.privileged => node(FileType::CharacterDevice, device),
            EntryKind::BlockDevice if options.privileged => node(FileType::BlockDevice, device),
            _ => return Err(UnpackError::Kind(self.path.clone())),
        })
    }

    fn file(
        &self,
        entry: &Entry,
        exists: bool,
        data: &mut TarReader<impl Read>,
        options: Options,
    ) -> Result<(), UnpackError> {
        let mut flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        flags |= match exists.then(|| unlinkat(&self.parent, &self.name, AtFlags::empty())) {
            // Something is mounted on it: it can be written, and not be replaced.
            Some(Err(Errno::BUSY)) => OFlags::TRUNC,
            Some(Err(e)) => return Err(self.failed(e)),
            _ => OFlags::CREATE | OFlags::EXCL,
        };
        let file = openat(&self.parent, &self.name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| self.failed(e))?;
        let mut file = File::from(file);
        write(&mut file, entry, data).map_err(|e| UnpackError::Make(self.path.clone(), e))?;
        if options.privileged {
            for (name, value) in &entry.xattrs {
                // Not every file system has them.
                let _ = fsetxattr(&file, name.as_slice(), value, XattrFlags::empty());
            }
        }
        self.attributes(entry, options).map_err(|e| self.failed(e))
    }

    /// Owner, mode and times, in this order: a new owner takes set-user-id bits away.
    fn attributes(&self, entry: &Entry, options: Options) -> Result<(), Errno> {
        if options.owners {
            chownat(
                &self.parent,
                &self.name,
                Some(Uid::from_raw(entry.uid)),
                Some(Gid::from_raw(entry.gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        if entry.kind != EntryKind::Symlink {
            let mask = if options.privileged { 0o7777 } else { 0o1777 };
            let mode = Mode::from_raw_mode(u32::from(entry.mode) & mask);
            rustix::fs::chmodat(&self.parent, &self.name, mode, AtFlags::empty())?;
        }
        utimensat(
            &self.parent,
            &self.name,
            &times(entry),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    }

    fn failed(&self, error: Errno) -> UnpackError {
        UnpackError::Make(self.path.clone(), error.into())
    }
}

fn write(file: &mut File, entry: &Entry, data: &mut TarReader<impl Read>) -> io::Result<()> {
    match &entry.extents {
        None => drop(io::copy(data, file)?),
        Some(extents) => {
            for (offset, length) in extents {
                file.seek(SeekFrom::Start(*offset))?;
                io::copy(&mut data.by_ref().take(*length), file)?;
            }
            file.set_len(entry.size)?;
        }
    }
    file.flush()
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec {
        tv_sec: entry.mtime,
        tv_nsec: i64::from(entry.mtime_nsec),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// An archive's name as a path below the root.
fn inside(name: &[u8]) -> Result<PathBuf, UnpackError> {
    let name = PathBuf::from(OsString::from_vec(name.to_vec()));
    let mut path = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => return Err(UnpackError::Outside(name)),
            _ => {}
        }
    }
    Ok(path)
}

/// Opens a folder below the root, and makes it where it is missing.
fn folder(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match resolve(root, path, flags) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    let parent = folder(root, path.parent().unwrap_or(Path::new("")))?;
    match mkdirat(
        parent.as_fd(),
        path.file_name().unwrap_or_default(),
        Mode::from_raw_mode(0o755),
    ) {
        Ok(()) | Err(Errno::EXIST) => resolve(root, path, flags),
        Err(e) => Err(e),
    }
}

/// Opens what a path below the root leads to, as if the root was that of the machine.
pub fn resolve(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    openat2(
        root,
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

#[cfg(test)]
mod tests;
