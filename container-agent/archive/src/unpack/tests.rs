//! Trees there and back, and archives that mean harm.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::{fs, path::Path};

use super::*;
use crate::TarWriter;
use crate::pack::{self, Packer};

fn open(path: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    rustix::fs::open(path, flags, Mode::empty()).expect("a folder")
}

fn archive(entries: &[(EntryKind, &str, &str)]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (kind, path, text) in entries {
        let mut entry = Entry {
            kind: *kind,
            path: path.as_bytes().to_vec(),
            mode: 0o4755,
            ..Entry::default()
        };
        if *kind == EntryKind::File {
            entry.size = text.len() as u64;
            writer
                .append_file(&entry, &mut text.as_bytes())
                .expect("written");
        } else {
            entry.link = text.as_bytes().to_vec();
            writer.append(&entry).expect("written");
        }
    }
    writer.finish().expect("written")
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let (from, to) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let tree = from.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).expect("folders");
    fs::write(tree.join("a/file"), vec![b'x'; 70_000]).expect("a file");
    fs::hard_link(tree.join("a/file"), tree.join("z")).expect("a link");
    symlink("/etc/passwd", tree.join("link")).expect("a link");
    fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o750)).expect("a mode");
    let mut packer = Packer::new(Vec::new(), pack::Options::default());
    packer
        .add(open(from.path()).as_fd(), c"tree", b"copy")
        .expect("packed");
    let packed = packer.finish().expect("packed");
    unpack(
        open(to.path()).as_fd(),
        Path::new(""),
        packed.as_slice(),
        Options::default(),
    )
    .expect("unpacked");
    let copy = to.path().join("copy");
    assert_eq!(fs::read(copy.join("a/file")).expect("a file").len(), 70_000);
    let inode = |name: &str| fs::metadata(copy.join(name)).expect("a file").ino();
    assert_eq!(inode("a/file"), inode("z"));
    assert_eq!(
        fs::read_link(copy.join("link")).expect("a link"),
        Path::new("/etc/passwd")
    );
    let (before, after) = (
        fs::metadata(tree.join("a")).expect("a folder"),
        fs::metadata(copy.join("a")).expect("a folder"),
    );
    assert_eq!(
        (before.mode(), before.mtime(), before.mtime_nsec()),
        (after.mode(), after.mtime(), after.mtime_nsec())
    );
}

#[test]
fn nothing_is_made_outside() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    fs::create_dir(&root).expect("a folder");
    fs::create_dir(&outside).expect("a folder");
    fs::write(outside.join("secret"), "secret").expect("a file");
    let target = outside.to_str().expect("UTF-8");
    for entries in [
        vec![(EntryKind::File, "../outside/made", "x")],
        vec![(EntryKind::File, "a/../../outside/made", "x")],
        vec![
            (EntryKind::Symlink, "out", target),
            (EntryKind::File, "out/made", "x"),
        ],
        vec![
            (EntryKind::Symlink, "up", "../outside"),
            (EntryKind::File, "up/made", "x"),
        ],
        vec![
            (EntryKind::Symlink, "file", "../outside/secret"),
            (EntryKind::File, "file", "overwritten"),
        ],
        vec![
            (EntryKind::Symlink, "away", target),
            (EntryKind::HardLink, "stolen", "away/secret"),
        ],
        vec![(EntryKind::HardLink, "stolen", "../outside/secret")],
    ] {
        // Whether it is an error or stays inside: both are well.
        let _ = unpack(
            open(&root).as_fd(),
            Path::new(""),
            archive(&entries).as_slice(),
            Options::default(),
        );
    }
    assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 1);
    assert_eq!(
        fs::read_to_string(outside.join("secret")).expect("a file"),
        "secret"
    );
    assert!(!root.join("stolen").exists());
}

#[test]
fn set_id_bits_and_devices_are_only_for_the_privileged() {
    let root = tempfile::tempdir().expect("a folder");
    let packed = archive(&[(EntryKind::File, "program", "x")]);
    let mode = || {
        let found = fs::metadata(root.path().join("program")).expect("a file");
        found.mode() & 0o7777
    };
    unpack(
        open(root.path()).as_fd(),
        Path::new(""),
        packed.as_slice(),
        Options::default(),
    )
    .expect("unpacked");
    assert_eq!(mode(), 0o755);
    let privileged = Options {
        privileged: true,
        ..Options::default()
    };
    unpack(
        open(root.path()).as_fd(),
        Path::new(""),
        packed.as_slice(),
        privileged,
    )
    .expect("unpacked");
    assert_eq!(mode(), 0o4755);
    let device = archive(&[(EntryKind::CharDevice, "device", "")]);
    assert!(matches!(
        unpack(
            open(root.path()).as_fd(),
            Path::new(""),
            device.as_slice(),
            Options::default()
        ),
        Err(UnpackError::Kind(_))
    ));
}

#[test]
fn folders_and_other_files_do_not_replace_each_other() {
    let root = tempfile::tempdir().expect("a folder");
    fs::create_dir(root.path().join("folder")).expect("a folder");
    fs::write(root.path().join("file"), "").expect("a file");
    let tried = |entry| {
        let packed = archive(&[entry]);
        unpack(
            open(root.path()).as_fd(),
            Path::new(""),
            packed.as_slice(),
            Options::default(),
        )
    };
    assert!(matches!(
        tried((EntryKind::File, "folder", "x")),
        Err(UnpackError::OverDirectory(_))
    ));
    assert!(matches!(
        tried((EntryKind::Directory, "file", "")),
        Err(UnpackError::OverFile(_))
    ));
}
