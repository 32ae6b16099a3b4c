//! Everything that can be told of a tree from outside.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rvm_images::Digest;

/// By path: a line that says all about what is there.
pub type Snapshot = BTreeMap<String, String>;

/// Takes the tree below `root`. Directories' times are left out where `dir_times` is false.
pub fn snapshot(root: &Path, dir_times: bool) -> Snapshot {
    let mut snapshot = Snapshot::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let name = path
            .strip_prefix(root)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .escape_ascii()
            .to_string();
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let mut line = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
        if kind.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            line += &format!(" links {} size {}", meta.nlink(), meta.size());
        }
        if dir_times || !kind.is_dir() {
            line += &format!(" at {}.{:09}", meta.mtime(), meta.mtime_nsec());
        }
        if kind.is_file() {
            line += &format!(" {}", content(&path));
        } else if kind.is_symlink() {
            line += &format!(
                " -> {}",
                fs::read_link(&path)
                    .unwrap()
                    .as_os_str()
                    .as_bytes()
                    .escape_ascii()
            );
        } else if kind.is_char_device() || kind.is_block_device() {
            line += &format!(
                " {}:{}",
                rustix::fs::major(meta.rdev()),
                rustix::fs::minor(meta.rdev())
            );
        }
        for (name, value) in xattrs(&path) {
            line += &format!(" {name}={}", value.escape_ascii());
        }
        snapshot.insert(name, line);
    }
    snapshot
}

fn content(path: &Path) -> Digest {
    Digest::of(&fs::read(path).unwrap())
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

/// Fails with the paths that differ, not with both trees.
pub fn assert_same(ours: &Snapshot, theirs: &Snapshot) {
    let mut report = String::new();
    for path in ours
        .keys()
        .chain(theirs.keys())
        .collect::<std::collections::BTreeSet<_>>()
    {
        let (a, b) = (ours.get(path), theirs.get(path));
        if a != b {
            report += &format!("/{path}\n  ours:   {}\n  theirs: {}\n", show(a), show(b));
        }
    }
    assert!(report.is_empty(), "the trees differ:\n{report}");
}

fn show(line: Option<&String>) -> &str {
    line.map_or("(nothing)", |line| line)
}
