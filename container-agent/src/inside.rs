//! Files inside a container's root, reached so that no link of the image's leads out of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

/// No /etc/passwd is longer; a longer one is cut.
const TEXT_LIMIT: u64 = 1 << 20;

/// A container's root folder.
pub struct Inside(OwnedFd);

impl Inside {
    /// Opens the root at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// The text of a file; empty when there is no such file, or none that could be read.
    pub fn text(&self, path: &str) -> String {
        let mut bytes = Vec::new();
        // A FIFO in the place of the file must not stop the agent.
        if let Ok(file) = self.resolve(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK) {
            // What was read before an error is all there is.
            let _ = File::from(file).take(TEXT_LIMIT).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Makes the folder `path`, with its parents, where it is missing.
    pub fn make_folder(&self, path: &Path) -> io::Result<()> {
        let folder = OFlags::PATH | OFlags::DIRECTORY;
        match self.resolve(path, folder) {
            Err(Errno::NOENT) => {}
            result => return Ok(result.map(drop)?),
        }
        let mut made = PathBuf::new();
        let mut parent = self.resolve(Path::new("/"), folder)?;
        for name in plain(path).components() {
            made.push(name);
            parent = match self.resolve(&made, folder) {
                Err(Errno::NOENT) => {
                    mkdirat(parent.as_fd(), name.as_os_str(), Mode::from_raw_mode(0o755))?;
                    self.resolve(&made, folder)?
                }
                result => result?,
            };
        }
        Ok(())
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat2(
            &self.0,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        )
    }
}

/// The path without `.`, `..` and a leading slash.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Inside) {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = Inside::open(folder.path()).expect("a root");
        (folder, inside)
    }

    #[test]
    fn an_absolute_link_stays_inside_the_root() {
        let (folder, inside) = root();
        fs::create_dir_all(folder.path().join("etc/real")).expect("a folder");
        fs::write(folder.path().join("etc/real/passwd"), "inside").expect("a file");
        symlink("/etc/real/passwd", folder.path().join("etc/passwd")).expect("a link");
        symlink(
            "../../../../../../../../../etc/hostname",
            folder.path().join("etc/group"),
        )
        .expect("a link");
        assert_eq!(inside.text("/etc/passwd"), "inside");
        assert_eq!(inside.text("/etc/group"), "");
    }

    #[test]
    fn a_missing_folder_is_made_inside_the_root() {
        let (folder, inside) = root();
        fs::create_dir(folder.path().join("data")).expect("a folder");
        symlink("/data", folder.path().join("link")).expect("a link");
        inside
            .make_folder(Path::new("/link/../link/a/b"))
            .expect("made");
        assert!(folder.path().join("data/a/b").is_dir());
        fs::write(folder.path().join("file"), "").expect("a file");
        assert!(inside.make_folder(Path::new("/file/x")).is_err());
    }
}
