//! A layer as a FUSE file system: what the kernel mounts by itself for root, and for nobody else.
//!
//! The layer never changes, so the kernel may keep everything that it is told. overlayfs looks for its marks among the user's
//! extended attributes where it is mounted in a user namespace; here they are brought there from where the layer has them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use rvm_images::erofs::{BLOCK_SIZE, Reader, StoredInode};

/// How long the kernel may believe what it is told.
const ALWAYS: Duration = Duration::from_secs(1 << 32);

/// Where overlayfs has its marks in a user namespace. What an image has there itself is not for overlayfs.
const MARKS: &[u8] = b"user.overlay.";
const OPAQUE: &[u8] = b"user.overlay.opaque";

/// The root has this number in FUSE, and the others the image's number behind it.
const ROOT: u64 = INodeNo::ROOT.0;

/// The most that one name may have.
const NAME_LIMIT: u32 = 255;

/// A layer that is served.
pub struct Layer {
    image: Reader<File>,
}

impl Layer {
    /// The one in a file.
    pub fn open(file: File) -> io::Result<Self> {
        let image = Reader::open(file)?;
        Ok(Self { image })
    }

    fn inode(&self, number: INodeNo) -> io::Result<StoredInode> {
        self.image.inode(match number.0 {
            ROOT => self.image.root(),
            other => other.wrapping_sub(ROOT + 1),
        })
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> io::Result<Option<FileAttr>> {
        let entries = self.image.entries(&self.inode(parent)?)?;
        let Ok(at) = entries.binary_search_by(|(other, _)| (**other).cmp(name.as_bytes())) else {
            return Ok(None);
        };
        let number = number(entries[at].1.number());
        Ok(Some(attributes(number, &self.inode(number)?)))
    }

    fn list(&self, directory: INodeNo, from: u64, reply: &mut ReplyDirectory) -> io::Result<()> {
        let entries = self.image.entries(&self.inode(directory)?)?;
        let dots = [(directory, &b"."[..]), (INodeNo::ROOT, b"..")];
        let dots = dots.map(|(number, name)| (number, FileType::Directory, name));
        let others = entries
            .iter()
            .map(|(name, entry)| (number(entry.number()), kind(entry.file_type()), &name[..]));
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (at, (number, kind, name)) in dots.into_iter().chain(others).enumerate().skip(from) {
            // Each is told where the next one is.
            if reply.add(number, at as u64 + 1, kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        Ok(())
    }

    fn xattrs(&self, number: INodeNo) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let inode = self.inode(number)?;
        let of_image = inode.meta.xattrs.iter();
        let of_image = of_image.filter(|(name, _)| !name.starts_with(MARKS));
        let mark = inode.opaque.then_some((OPAQUE, &b"y"[..]));
        let all = of_image.chain(mark);
        Ok(all
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect())
    }
}

impl Filesystem for Layer {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent, name) {
            Ok(Some(found)) => reply.entry(&ALWAYS, &found, Generation(0)),
            Ok(None) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(error.into()),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.inode(number) {
            Ok(inode) => reply.attr(&ALWAYS, &attributes(number, &inode)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let link = self.inode(number);
        match link.and_then(|link| self.image.content(&link, 0, BLOCK_SIZE)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error.into()),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // It does not ask again, and keeps what it has read.
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let inode = self.inode(number);
        match inode.and_then(|inode| self.image.content(&inode, offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.list(number, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, BLOCK_SIZE as u32, NAME_LIMIT, 0);
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.xattrs(number) {
            Ok(all) => match all.iter().find(|(other, _)| other == name.as_bytes()) {
                Some((_, value)) => answer(reply, size, value),
                None => reply.error(Errno::NO_XATTR),
            },
            Err(error) => reply.error(error.into()),
        }
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        match self.xattrs(number) {
            Ok(all) => {
                let names = all.into_iter().flat_map(|(name, _)| [name, vec![0]]);
                answer(reply, size, &names.flatten().collect::<Vec<_>>());
            }
            Err(error) => reply.error(error.into()),
        }
    }
}

/// What does not fit is not given; to a size of 0 the answer is the size.
fn answer(reply: ReplyXattr, size: u32, bytes: &[u8]) {
    match size as usize {
        0 => reply.size(bytes.len() as u32),
        room if room < bytes.len() => reply.error(Errno::ERANGE),
        _ => reply.data(bytes),
    }
}

fn number(of_image: u64) -> INodeNo {
    INodeNo(of_image.wrapping_add(ROOT + 1))
}

fn attributes(number: INodeNo, inode: &StoredInode) -> FileAttr {
    let (seconds, nanoseconds) = inode.meta.mtime;
    let since = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds {
        0.. => UNIX_EPOCH.checked_add(since),
        _ => UNIX_EPOCH.checked_sub(since),
    };
    let time = time.and_then(|time| time.checked_add(Duration::from_nanos(nanoseconds.into())));
    let time = time.unwrap_or(SystemTime::UNIX_EPOCH);
    let kind = kind(inode.file_type);
    let is_device = matches!(kind, FileType::CharDevice | FileType::BlockDevice);
    FileAttr {
        ino: number,
        size: inode.size,
        blocks: inode.size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm: inode.meta.mode,
        nlink: inode.links,
        uid: inode.meta.uid,
        gid: inode.meta.gid,
        rdev: if is_device { inode.data } else { 0 },
        blksize: BLOCK_SIZE as u32,
        flags: 0,
    }
}

/// The type that stands in the upper four bits of a mode.
fn kind(file_type: u8) -> FileType {
    match file_type {
        0o1 => FileType::NamedPipe,
        0o2 => FileType::CharDevice,
        0o4 => FileType::Directory,
        0o6 => FileType::BlockDevice,
        0o12 => FileType::Symlink,
        0o14 => FileType::Socket,
        _ => FileType::RegularFile,
    }
}
