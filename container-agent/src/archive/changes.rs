//! What differs between a container's root and its image: an overlay's upper directory, held against the layers below it.

use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;
use rvm_archive::pack::{Choice, Marks, is_opaque, names};

use super::Error;

/// Folders in folders: each holds two descriptors while it is looked through.
const MAX_DEPTH: usize = 256;

/// Writes each change as its kind (A, C or D), the path and a zero byte, in no particular order.
pub fn write(
    (upper, marks): (OwnedFd, Marks),
    base: OwnedFd,
    left_out: Choice<'_>,
    output: impl Write,
) -> Result<(), Error> {
    let mut changes = Changes {
        marks,
        left_out,
        output,
    };
    changes.folder(&upper, Some(&base), b"", 0)?;
    changes.output.flush().map_err(Error::Output)
}

struct Changes<'a, W> {
    marks: Marks,
    left_out: Choice<'a>,
    output: W,
}

/// What was seen in a folder.
#[derive(Default)]
struct Seen {
    changes: bool,
    /// What the runtime has made for its mounts.
    left_out: bool,
}

impl<W: Write> Changes<'_, W> {
    /// `path` is empty, or ends with a slash.
    fn folder(
        &mut self,
        upper: &OwnedFd,
        base: Option<&OwnedFd>,
        path: &[u8],
        depth: usize,
    ) -> Result<Seen, Error> {
        let read = |e: Errno| Error::Root(e.into());
        if depth > MAX_DEPTH {
            return Err(read(Errno::LOOP));
        }
        let mut seen = Seen::default();
        for name in names(upper).map_err(read)? {
            let path = [path, name.to_bytes()].concat();
            if (self.left_out)(&path) {
                seen.left_out = true;
                continue;
            }
            let found = match statat(upper, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                found => found.map_err(read)?,
            };
            let before = base.and_then(|base| statat(base, &name, AtFlags::SYMLINK_NOFOLLOW).ok());
            let kind = FileType::from_raw_mode(found.st_mode);
            let changed = match kind {
                FileType::CharacterDevice if found.st_rdev == 0 => match before {
                    Some(_) => self.tell(b'D', &path)?,
                    None => false,
                },
                FileType::Directory => {
                    let inside = open(upper, &name).map_err(read)?;
                    let below = base.filter(|_| before.is_some_and(|before| is_folder(&before)));
                    let below = below.and_then(|base| open(base, &name).ok());
                    self.inner(&inside, below, before, &found, path, depth)?
                }
                _ => self.tell(if before.is_some() { b'C' } else { b'A' }, &path)?,
            };
            seen.changes |= changed;
        }
        Ok(seen)
    }

    /// A folder of the upper directory; whether there is anything to tell of it.
    fn inner(
        &mut self,
        inside: &OwnedFd,
        below: Option<OwnedFd>,
        before: Option<Stat>,
        found: &Stat,
        path: Vec<u8>,
        depth: usize,
    ) -> Result<bool, Error> {
        let inner = [path.as_slice(), b"/"].concat();
        let hidden = is_opaque(inside, self.marks);
        let seen = self.folder(
            inside,
            below.as_ref().filter(|_| !hidden),
            &inner,
            depth + 1,
        )?;
        if let Some(below) = below.filter(|_| hidden) {
            for name in names(&below).map_err(|e| Error::Root(e.into()))? {
                if statat(inside, &name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
                    self.tell(b'D', &[inner.as_slice(), name.to_bytes()].concat())?;
                }
            }
            return self.tell(b'C', &path);
        }
        match before {
            Some(before) if seen.changes || !is_same(&before, found) => self.tell(b'C', &path),
            Some(_) => Ok(false),
            // Made for nothing but a mount in it.
            None if seen.left_out && !seen.changes => Ok(false),
            None => self.tell(b'A', &path),
        }
    }

    fn tell(&mut self, kind: u8, path: &[u8]) -> Result<bool, Error> {
        self.output
            .write_all(&[&[kind, b'/'], path, b"\0"].concat())
            .map_err(Error::Output)?;
        Ok(true)
    }
}

fn open(folder: &OwnedFd, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

fn is_folder(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

/// Whether a folder is what it was, apart from what is in it.
fn is_same(before: &Stat, now: &Stat) -> bool {
    (before.st_mode, before.st_uid, before.st_gid) == (now.st_mode, now.st_uid, now.st_gid)
}
