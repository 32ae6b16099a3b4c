//! The files of what is being loaded, by name and by digest, wherever they come from.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{LoadError, check_json_size};
use crate::blobs::spool;
use crate::compression::decompress;
use crate::digest::Digest;
use crate::tar::{EntryKind, TarReader};

/// What a member's name may go through before it counts as a loop.
const MAX_LINKS: usize = 8;

/// A member that was copied into the workspace and hashed on the way.
#[derive(Debug, Clone)]
pub(crate) struct Spooled {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// All members of an archive, or of a folder as far as they were asked for.
pub(crate) struct Members {
    workspace: PathBuf,
    folder: Option<OwnedFd>,
    by_name: HashMap<String, Member>,
    by_digest: HashMap<Digest, Spooled>,
    count: usize,
}

enum Member {
    File(Spooled),
    Link(String),
}

impl Members {
    /// Reads an archive to its end. The order of its members does not matter.
    pub(crate) fn from_archive(
        archive: impl Read + Send,
        workspace: &Path,
        limit: u64,
    ) -> Result<Self, LoadError> {
        let mut members = Self::new(workspace, None);
        let plain = decompress(archive).map_err(LoadError::Compression)?;
        let mut tar = TarReader::new(plain);
        let mut total = 0u64;
        while let Some(entry) = tar.next().map_err(LoadError::Tar)? {
            let printable = entry.path.escape_ascii().to_string();
            let name = String::from_utf8(entry.path)
                .ok()
                .and_then(|path| clean("", &path))
                .ok_or_else(|| LoadError::Escapes(printable.clone()))?;
            total = total.saturating_add(entry.size);
            if total > limit {
                return Err(LoadError::TooLarge(limit));
            }
            let member = match entry.kind {
                EntryKind::File if entry.extents.is_none() => {
                    Member::File(members.spool(&name, &mut tar)?)
                }
                EntryKind::HardLink | EntryKind::Symlink => {
                    let folder = if entry.kind == EntryKind::Symlink {
                        parent(&name)
                    } else {
                        ""
                    };
                    let target = String::from_utf8(entry.link)
                        .ok()
                        .and_then(|link| clean(folder, &link));
                    Member::Link(target.ok_or(LoadError::Escapes(printable))?)
                }
                // Folders and the like hold no content.
                _ => continue,
            };
            members.by_name.insert(name, member);
        }
        // What stands behind the archive's end tells whether its compression is whole.
        io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(LoadError::Compression)?;
        Ok(members)
    }

    /// Takes members from a folder when they are asked for; links that leave it are not followed.
    pub(crate) fn from_folder(folder: &Path, workspace: &Path) -> Result<Self, LoadError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened =
            rustix::fs::open(folder, flags, Mode::empty()).map_err(|err| LoadError::Open {
                path: folder.to_owned(),
                source: err.into(),
            })?;
        Ok(Self::new(workspace, Some(opened)))
    }

    fn new(workspace: &Path, folder: Option<OwnedFd>) -> Self {
        Self {
            workspace: workspace.to_owned(),
            folder,
            by_name: HashMap::new(),
            by_digest: HashMap::new(),
            count: 0,
        }
    }

    /// The member with this name, if there is one.
    pub(crate) fn file(&mut self, name: &str) -> Result<Option<Spooled>, LoadError> {
        let mut name = clean("", name).ok_or_else(|| LoadError::Escapes(name.to_owned()))?;
        for _ in 0..MAX_LINKS {
            match self.by_name.get(&name) {
                Some(Member::File(spooled)) => return Ok(Some(spooled.clone())),
                Some(Member::Link(target)) => name = target.clone(),
                None => break,
            }
        }
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let source = |err: io::Error| LoadError::Open {
            path: PathBuf::from(&name),
            source: err,
        };
        let mut file = match rustix::fs::openat2(
            folder,
            &*name,
            flags,
            Mode::empty(),
            ResolveFlags::BENEATH,
        ) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
            Err(rustix::io::Errno::XDEV) => return Err(LoadError::Escapes(name)),
            Err(err) => return Err(source(err.into())),
        };
        if !file.metadata().map_err(source)?.is_file() {
            return Ok(None);
        }
        let spooled = self.spool(&name, &mut file)?;
        self.by_name.insert(name, Member::File(spooled.clone()));
        Ok(Some(spooled))
    }

    /// The blob with this digest; its size has to be `size`.
    pub(crate) fn blob(&mut self, digest: &Digest, size: u64) -> Result<Spooled, LoadError> {
        let found = match self.by_digest.get(digest) {
            Some(found) => found.clone(),
            None => self
                .file(&format!("blobs/sha256/{}", digest.hex()))?
                .ok_or_else(|| LoadError::Missing(digest.to_string()))?,
        };
        if found.size != size {
            return Err(LoadError::Size {
                digest: *digest,
                expected: size,
                found: found.size,
            });
        }
        Ok(found)
    }

    /// A blob that is a document.
    pub(crate) fn json(&mut self, digest: &Digest, size: u64) -> Result<Vec<u8>, LoadError> {
        check_json_size(&digest.to_string(), size)?;
        let blob = self.blob(digest, size)?;
        self.read(&blob)
    }

    /// The content of a member that is a document.
    pub(crate) fn read(&self, member: &Spooled) -> Result<Vec<u8>, LoadError> {
        check_json_size(&member.digest.to_string(), member.size)?;
        fs::read(&member.path).map_err(|source| LoadError::Store {
            path: member.path.clone(),
            source,
        })
    }

    fn spool(&mut self, name: &str, data: &mut impl Read) -> Result<Spooled, LoadError> {
        let path = self.workspace.join(format!("member-{}", self.count));
        self.count += 1;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput => LoadError::Compression(source),
            _ => LoadError::Store {
                path: path.clone(),
                source,
            },
        };
        let (digest, size) = spool(data, &path).map_err(failed)?;
        if let Some(hex) = name.strip_prefix("blobs/sha256/")
            && hex != digest.hex()
        {
            return Err(LoadError::Digest {
                expected: name.to_owned(),
                found: digest,
            });
        }
        let spooled = match self.by_digest.get(&digest) {
            Some(same) => {
                fs::remove_file(&path).map_err(failed)?;
                same.clone()
            }
            None => Spooled { path, digest, size },
        };
        self.by_digest.insert(digest, spooled.clone());
        Ok(spooled)
    }
}

/// `path`, seen from `folder`, without `.`, `..` and leading slashes; `None` when it leaves the archive.
fn clean(folder: &str, path: &str) -> Option<String> {
    let mut names: Vec<&str> = folder.split('/').filter(|name| !name.is_empty()).collect();
    if path.starts_with('/') {
        return None;
    }
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()?),
            name if name.contains('\0') => return None,
            name => names.push(name),
        }
    }
    Some(names.join("/"))
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn names_are_taken_within_the_archive() {
        assert_eq!(
            clean("", "./blobs//sha256/a").as_deref(),
            Some("blobs/sha256/a")
        );
        assert_eq!(clean("x/y", "../z.tar").as_deref(), Some("x/z.tar"));
        assert_eq!(clean("x", "../../z"), None);
        assert_eq!(clean("", "/etc/passwd"), None);
    }
}
