//! How much of what is copied has come over.

use std::fs::Metadata;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much has been copied, to be looked at while it is.
#[derive(Debug, Default)]
pub struct Copied {
    /// Bytes of archive that have been sent.
    pub transferred: AtomicU64,
    /// Bytes of what is copied, where that is known without reading it.
    pub content: OnceLock<u64>,
}

impl Copied {
    /// A reader that counts.
    pub(super) fn of<R: Read>(&self, from: R) -> Counted<'_, R> {
        Counted { from, copied: self }
    }
}

/// Counts what is read.
pub(super) struct Counted<'a, R> {
    from: R,
    copied: &'a Copied,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(into)?;
        let transferred = &self.copied.transferred;
        transferred.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// The size of all regular files of a tree; what can't be looked at is said when it is packed.
pub(super) fn content_size(path: &Path, found: &Metadata) -> u64 {
    if found.is_file() {
        return found.len();
    }
    let mut total = 0;
    let mut folders: Vec<PathBuf> = found
        .is_dir()
        .then(|| path.to_owned())
        .into_iter()
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // Of links, what they are and not what they lead to.
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) if found.is_file() => total += found.len(),
                _ => {}
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_and_what_links_lead_to_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path();
        std::fs::create_dir(path.join("sub")).expect("folder");
        std::fs::write(path.join("sub/five"), "12345").expect("file");
        std::fs::write(path.join("two"), "12").expect("file");
        std::os::unix::fs::symlink("sub", path.join("link")).expect("link");
        let size = |path: &Path| content_size(path, &path.symlink_metadata().expect("found"));
        assert_eq!(size(path), 7);
        assert_eq!(size(&path.join("two")), 2);
        assert_eq!(size(&path.join("link")), 0);
        let copied = Copied::default();
        io::copy(&mut copied.of(&b"abc"[..]), &mut io::sink()).expect("copy");
        assert_eq!(copied.transferred.into_inner(), 3);
    }
}
