//! A container's writable layer: an ext4 file system in a sparse file, which stays when the container stops and goes with it.
//!
//! The file system is made once per size and copied from then on; only the few blocks that it has written so far are copied. Once
//! a guest has written to it nobody but guests mounts it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, SeekFrom, copy_file_range, flock, seek};

use crate::container::Settings;
use crate::id::ContainerId;
use crate::options::memory::Memory;
use crate::root::Root;

/// The size of a disk when nobody says: as much as a container's programs may believe to have.
pub const DEFAULT_SIZE: Memory = Memory::mib(10 << 10);

/// The smallest disk: below that there is little room beside the journal.
pub const SMALLEST: Memory = Memory::mib(16);

/// The largest disk, which group descriptors of 32 bytes can describe.
pub const LARGEST: Memory = Memory::mib(8 << 20);

/// Disks from this size on get a larger journal and larger groups.
const LARGE: Memory = Memory::mib(1 << 10);

/// The file system's features. No checksums of metadata: a guest's kernel would compute them for every block.
const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,uninit_bg,dir_nlink,extra_isize";

/// Why a container has no writable layer.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no program to make it.
    #[error("mke2fs is missing, which makes the containers' writable layers: install e2fsprogs")]
    NoMke2fs,
    /// The program failed.
    #[error("mke2fs could not make a file system of {size} bytes: {message}")]
    Mke2fs {
        /// How large.
        size: u64,
        /// What it has said.
        message: String,
    },
    /// A file failed.
    #[error("cannot make the container's writable layer {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The size of the disk that a container has, if its writable layer is on one: what can't be written needs none.
pub fn size_of(settings: &Settings) -> Option<Memory> {
    (!settings.read_only).then(|| settings.storage_size.unwrap_or(DEFAULT_SIZE))
}

/// The disk of a container, which may not be made yet.
#[derive(Clone, Debug)]
pub struct Disk {
    root: Root,
    path: PathBuf,
    size: Memory,
}

impl Disk {
    /// The disk that a container of these settings has, if it has one.
    pub fn of(root: &Root, id: &ContainerId, settings: &Settings) -> Option<Self> {
        size_of(settings).map(|size| Self {
            root: root.clone(),
            path: root.container(id).disk(),
            size,
        })
    }

    /// Its size.
    pub fn size(&self) -> Memory {
        self.size
    }

    /// Whether it is made; if not, the container was never started.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Opens it, and makes it where it is missing.
    pub fn open(&self) -> Result<File, DiskError> {
        match open_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.copy_of(&pristine(&self.root, self.size)?)
            }
            result => result.map_err(|source| self.failed(source)),
        }
    }

    /// Makes it as a copy of `disk`, and opens it.
    pub fn copy_of(&self, disk: &File) -> Result<File, DiskError> {
        // Under another name until it is whole: a half copy would be taken for the container's own.
        let half = self.path.with_extension("new");
        let copied = File::create(&half).and_then(|to| copy_sparse(disk, &to));
        copied
            .and_then(|()| fs::rename(&half, &self.path))
            .and_then(|()| open_file(&self.path))
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> DiskError {
        DiskError::File {
            path: self.path.clone(),
            source,
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// The file system of that size in which nothing is yet.
fn pristine(root: &Root, size: Memory) -> Result<File, DiskError> {
    let folder = root.disks();
    let path = folder.join(format!("{}.ext4", size.bytes()));
    let failed = |source| DiskError::File {
        path: path.clone(),
        source,
    };
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result.map_err(failed),
    }
    fs::create_dir_all(&folder).map_err(failed)?;
    // One makes it, and others wait: what was begun before belongs to somebody who was killed.
    let alone = File::open(&folder).map_err(failed)?;
    rustix::io::retry_on_intr(|| flock(&alone, FlockOperation::LockExclusive))
        .map_err(|error| failed(error.into()))?;
    if let Ok(made) = File::open(&path) {
        return Ok(made);
    }
    remove_begun(&folder).map_err(failed)?;
    let file = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
    file.as_file().set_len(size.bytes()).map_err(failed)?;
    format(&folder, file.path(), size)?;
    // Its copy has holes where mke2fs has reserved blocks for zeros.
    let copy = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
    copy_sparse_bytes(file.as_file(), copy.as_file()).map_err(failed)?;
    copy.persist(&path).map_err(|error| failed(error.error))?;
    File::open(&path).map_err(failed)
}

/// Removes what somebody has begun who was killed.
fn remove_begun(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let begun = entry.file_name().to_string_lossy().starts_with(".tmp");
        match entry.file_type()?.is_dir() {
            true if begun => fs::remove_dir_all(entry.path())?,
            false if begun => fs::remove_file(entry.path())?,
            _ => {}
        }
    }
    Ok(())
}

/// With a journal, since a VMM may be killed at any time. Everything that could be left for the first mount to do is done here, where it costs only holes.
fn format(folder: &Path, path: &Path, size: Memory) -> Result<(), DiskError> {
    let seed = tempfile::tempdir_in(folder).map_err(|source| DiskError::File {
        path: folder.to_owned(),
        source,
    })?;
    // What overlayfs asks for; made here it need not be made by the guest. It is to be root's.
    let seeded = rustix::process::geteuid().is_root();
    for name in ["upper", "work"].into_iter().filter(|_| seeded) {
        let path = seed.path().join(name);
        let made = fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
        made.map_err(|source| DiskError::File { path, source })?;
    }
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-b", "4096", "-m", "0", "-I", "256"]);
    if size >= LARGE {
        // A mount costs the guest's kernel time for each block group, and a group is so many clusters.
        let features = format!("{FEATURES},bigalloc");
        command.args(["-O", &features, "-C", "32768", "-i", "32768"]);
        command.args(["-J", "size=16"]);
    } else {
        command.args(["-O", FEATURES, "-i", "16384", "-J", "size=4"]);
    }
    let output = command
        .arg("-d")
        .arg(seed.path())
        .args(["-E", "lazy_itable_init=0,lazy_journal_init=1,nodiscard"])
        .args(["-e", "remount-ro"])
        .arg(path)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        // The same file system on every host, whatever its defaults are.
        .env("MKE2FS_CONFIG", "/dev/null")
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => DiskError::NoMke2fs,
        _ => DiskError::File {
            path: path.to_owned(),
            source,
        },
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(DiskError::Mke2fs {
        size: size.bytes(),
        message: said.lines().last().unwrap_or_default().trim().to_owned(),
    })
}

/// Copies what is not a hole; blocks are shared where the file system can.
pub fn copy_sparse(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    copy_sparse_bytes(from, to)
}

fn copy_sparse_bytes(from: &File, to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut position = 0;
    loop {
        position = match seek(from, SeekFrom::Data(position)) {
            Ok(data) => data,
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(position))?;
        let (mut source, mut target) = (position, position);
        while source < end {
            let chunk = usize::try_from(end - source).unwrap_or(usize::MAX);
            let copied = copy_file_range(from, Some(&mut source), to, Some(&mut target), chunk)?;
            if copied == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        position = end;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn copies_have_the_same_content_and_the_same_holes() {
        let folder = tempfile::tempdir().expect("folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let make = |path: &Path| {
            let mut options = File::options();
            options.read(true).write(true).create_new(true);
            options.open(path).expect("file")
        };
        let (from, to) = (make(&from), make(&to));
        from.set_len(1 << 30).expect("length");
        from.write_all_at(b"begin", 0).expect("write");
        from.write_all_at(b"middle", 500 << 20).expect("write");
        copy_sparse(&from, &to).expect("copy");
        let mut bytes = [0; 6];
        to.read_exact_at(&mut bytes, 500 << 20).expect("read");
        assert_eq!(&bytes, b"middle");
        let status = to.metadata().expect("status");
        assert_eq!(status.len(), 1 << 30);
        assert!(
            status.blocks() * 512 < 1 << 20,
            "{} blocks",
            status.blocks()
        );
    }

    #[test]
    fn a_disk_is_made_once_and_takes_little_room() {
        let folder = tempfile::tempdir().expect("folder");
        let root = Root::open(Some(folder.path().into())).expect("root");
        let id = ContainerId::random().expect("id");
        root.container(&id).make().expect("folder");
        let disk = Disk {
            path: root.container(&id).disk(),
            root: root.clone(),
            size: DEFAULT_SIZE,
        };
        let file = disk.open().expect("disk");
        let status = file.metadata().expect("status");
        assert_eq!(status.len(), DEFAULT_SIZE.bytes());
        assert!(
            status.blocks() * 512 < 4 << 20,
            "{} blocks",
            status.blocks()
        );
        file.write_all_at(b"mine", 0).expect("write");
        let again = disk.open().expect("disk");
        let mut bytes = [0; 4];
        again.read_exact_at(&mut bytes, 0).expect("read");
        assert_eq!(&bytes, b"mine");
        let pristine: Vec<_> = fs::read_dir(root.disks()).expect("folder").collect();
        assert_eq!(pristine.len(), 1);
        let status = pristine[0].as_ref().expect("entry").metadata();
        assert!(status.expect("status").blocks() * 512 < 4 << 20);
    }
}
