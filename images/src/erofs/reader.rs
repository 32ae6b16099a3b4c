//! Reads back the images that the writer makes.

use std::borrow::Borrow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::format::{DIRENT, IMPLIED, SLOT, SUPER_OFFSET};
use super::tree::Meta;
use super::writer::BLOCK_SIZE;
use super::xattr::{self, Xattrs};

/// `FT_DIR`, `FT_CHRDEV` and `FT_SYMLINK` of `include/linux/fs_types.h`.
const DIRECTORY: u8 = 2;
const CHARACTER_DEVICE: u8 = 3;
const SYMLINK: u8 = 7;
/// `S_IFDIR >> 12`, as a file's type stands in an inode's mode.
const DIRECTORY_TYPE: u8 = 0o4;
/// Bytes of one inode's directory entries before the image counts as damaged.
const MAX_DIRECTORY: u64 = 1 << 30;

/// An image that is read; of hostile ones all that is promised is an error.
#[derive(Debug)]
pub struct Reader<F> {
    file: F,
    metadata: u64,
    root: u64,
    build_time: (i64, u32),
}

/// An inode.
#[derive(Debug, Clone)]
pub struct StoredInode {
    /// Its attributes, without overlayfs's mark.
    pub meta: Meta,
    /// The mark is there: nothing of the layers below shows through.
    pub opaque: bool,
    /// What it is: the upper four bits of its mode, as `S_IFMT` has them.
    pub file_type: u8,
    /// How many names it has.
    pub links: u32,
    /// Bytes of its content.
    pub size: u64,
    /// The block in which its content begins, or the number of the device.
    pub data: u32,
    /// A directory that the layer has something in, but does not list: its attributes are those of the layers below.
    pub implicit: bool,
    /// Where its last block stands, when that is not a block of its own.
    inline: Option<u64>,
}

/// What a directory has under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredEntry {
    file_type: u8,
    number: u64,
}

impl StoredEntry {
    /// What it is, as in [`StoredInode::file_type`].
    pub fn file_type(&self) -> u8 {
        // `FT_*` number the types in another order than `S_IFMT`.
        [0, 0o10, 0o4, 0o2, 0o6, 0o1, 0o14, 0o12]
            .get(usize::from(self.file_type))
            .copied()
            .unwrap_or(0)
    }

    /// The number of its inode, which [`Reader::inode`] takes.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.file_type == DIRECTORY
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.file_type == SYMLINK
    }
}

impl StoredInode {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.file_type == DIRECTORY_TYPE
    }

    /// Where in the image a byte of its content stands that is in a block of its own.
    fn position(&self, offset: u64) -> Option<u64> {
        (u64::from(self.data) * BLOCK_SIZE as u64).checked_add(offset)
    }
}

impl<F: Borrow<File>> Reader<F> {
    /// Reads the superblock.
    pub fn open(file: F) -> io::Result<Self> {
        let block = read(file.borrow(), SUPER_OFFSET as u64, 128)?;
        if block.get(..4) != Some(&super::format::MAGIC.to_le_bytes()) {
            return Err(damaged());
        }
        Ok(Self {
            file,
            root: u64::from(u16_at(&block, 14)?),
            build_time: (u64_at(&block, 24)? as i64, u32_at(&block, 32)?),
            metadata: u64::from(u32_at(&block, 40)?) * BLOCK_SIZE as u64,
        })
    }

    /// The number of the root directory's inode.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// What is in a directory, sorted by name.
    pub fn entries(&self, directory: &StoredInode) -> io::Result<Vec<(Box<[u8]>, StoredEntry)>> {
        if !directory.is_directory() || directory.size > MAX_DIRECTORY {
            return Err(damaged());
        }
        let mut entries = Vec::new();
        for offset in (0..directory.size).step_by(BLOCK_SIZE) {
            decode(&self.content(directory, offset, BLOCK_SIZE)?, &mut entries)?;
        }
        Ok(entries)
    }

    /// What an inode holds from `offset` on, at most `length` bytes of it; of a symbolic link that is what it leads to. What spans
    /// its last two blocks may come in two parts.
    pub fn content(&self, inode: &StoredInode, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let Some(left) = inode.size.checked_sub(offset) else {
            return Ok(Vec::new());
        };
        let tail = inode.size - inode.size % BLOCK_SIZE as u64;
        let (at, left) = match inode.inline {
            Some(inline) if offset >= tail => (inline.checked_add(offset - tail), left),
            Some(_) => (inode.position(offset), tail - offset),
            None => (inode.position(offset), left),
        };
        let length = usize::try_from(left).map_or(length, |left| left.min(length));
        read(self.file.borrow(), at.ok_or_else(damaged)?, length)
    }

    /// Whether an entry only hides what the layers below have under its name.
    pub fn is_whiteout(&self, entry: StoredEntry) -> io::Result<bool> {
        Ok(entry.file_type == CHARACTER_DEVICE && self.inode(entry.number)?.data == 0)
    }

    /// The inode of that number.
    pub fn inode(&self, number: u64) -> io::Result<StoredInode> {
        let at = number
            .checked_mul(SLOT)
            .and_then(|at| at.checked_add(self.metadata));
        let at = at.ok_or_else(damaged)?;
        let inode = read(self.file.borrow(), at, 64)?;
        let format = u16_at(&inode, 0)?;
        let is_extended = format & 1 != 0;
        let mode = u16_at(&inode, 4)?;
        let (length, size, uid, gid, mtime, links) = if is_extended {
            let mtime = (u64_at(&inode, 32)? as i64, u32_at(&inode, 40)?);
            let (uid, gid) = (u32_at(&inode, 24)?, u32_at(&inode, 28)?);
            (64, u64_at(&inode, 8)?, uid, gid, mtime, u32_at(&inode, 44)?)
        } else {
            let (uid, gid) = (u16_at(&inode, 24)?.into(), u16_at(&inode, 26)?.into());
            let (size, links) = (u32_at(&inode, 8)?.into(), u16_at(&inode, 6)?.into());
            (32, size, uid, gid, self.build_time, links)
        };
        let xattr_size = match u16_at(&inode, 2)? {
            0 => 0,
            count => xattr::HEADER + 4 * (usize::from(count) - 1),
        };
        let behind = at.checked_add(length).ok_or_else(damaged)?;
        let bytes = read(self.file.borrow(), behind, xattr_size)?;
        let (xattrs, opaque) = Xattrs::decode(&bytes).ok_or_else(damaged)?;
        let is_inline = format >> 1 & 7 == super::format::Layout::Inline as u16;
        Ok(StoredInode {
            meta: Meta {
                mode: mode & 0o7777,
                uid,
                gid,
                mtime,
                xattrs,
            },
            opaque,
            file_type: (mode >> 12) as u8,
            links,
            size,
            data: u32_at(&inode, 16)?,
            implicit: u32_at(&inode, 20)? == IMPLIED,
            inline: is_inline.then_some(behind + xattr_size as u64),
        })
    }
}

/// The entries of one block, `.` and `..` left out.
fn decode(block: &[u8], entries: &mut Vec<(Box<[u8]>, StoredEntry)>) -> io::Result<()> {
    let count = usize::from(u16_at(block, 8)?) / DIRENT;
    for index in 0..count {
        let at = index * DIRENT;
        let start = usize::from(u16_at(block, at + 8)?);
        let end = match index + 1 < count {
            true => usize::from(u16_at(block, at + DIRENT + 8)?),
            false => block.len(),
        };
        let name = block.get(start..end).ok_or_else(damaged)?;
        // What fills the block up is zeros.
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        if !matches!(name, b"." | b"..") {
            let entry = StoredEntry {
                file_type: *block.get(at + 10).ok_or_else(damaged)?,
                number: u64_at(block, at)?,
            };
            entries.push((name.into(), entry));
        }
    }
    Ok(())
}

fn read(file: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    let found = bytes
        .get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok());
    found.ok_or_else(damaged)
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    number(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the file system image is damaged",
    )
}
