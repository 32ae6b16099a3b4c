//! Reads directories back from the images that the writer makes.

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
/// Bytes of one inode's directory entries before the image counts as damaged.
const MAX_DIRECTORY: u64 = 1 << 30;

/// An image whose directories are read.
#[derive(Debug)]
pub struct Reader<'a> {
    file: &'a File,
    metadata: u64,
    root: u64,
    build_time: (i64, u32),
}

/// A directory, without what is in it.
#[derive(Debug, Clone)]
pub struct StoredDirectory {
    /// Its attributes, without overlayfs's mark.
    pub meta: Meta,
    /// The mark is there: nothing of the layers below shows through.
    pub opaque: bool,
    /// The layer has something in it, but does not list it: its attributes are those of the layers below.
    pub implicit: bool,
    size: u64,
    block: u32,
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
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.file_type == DIRECTORY
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.file_type == SYMLINK
    }
}

impl<'a> Reader<'a> {
    /// Reads the superblock.
    pub fn open(file: &'a File) -> io::Result<Self> {
        let block = read(file, SUPER_OFFSET as u64, 128)?;
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

    /// The root directory.
    pub fn root(&self) -> io::Result<StoredDirectory> {
        self.inode(self.root)
    }

    /// The directory that an entry names.
    pub fn directory(&self, entry: StoredEntry) -> io::Result<StoredDirectory> {
        self.inode(entry.number)
    }

    /// What is in a directory, sorted by name.
    pub fn entries(
        &self,
        directory: &StoredDirectory,
    ) -> io::Result<Vec<(Box<[u8]>, StoredEntry)>> {
        if directory.size > MAX_DIRECTORY {
            return Err(damaged());
        }
        let size = directory.size as usize;
        let start = u64::from(directory.block) * BLOCK_SIZE as u64;
        let mut entries = Vec::new();
        for offset in (0..size).step_by(BLOCK_SIZE) {
            let length = (size - offset).min(BLOCK_SIZE);
            let at = match directory.inline {
                Some(inline) if size - offset <= BLOCK_SIZE => inline,
                _ => start + offset as u64,
            };
            decode(&read(self.file, at, length)?, &mut entries)?;
        }
        Ok(entries)
    }

    /// Whether an entry only hides what the layers below have under its name.
    pub fn is_whiteout(&self, entry: StoredEntry) -> io::Result<bool> {
        if entry.file_type != CHARACTER_DEVICE {
            return Ok(false);
        }
        let inode = read(self.file, self.metadata + entry.number * SLOT, 32)?;
        Ok(u32_at(&inode, 16)? == 0)
    }

    fn inode(&self, number: u64) -> io::Result<StoredDirectory> {
        let at = self.metadata + number * SLOT;
        let inode = read(self.file, at, 64)?;
        let format = u16_at(&inode, 0)?;
        let is_extended = format & 1 != 0;
        let mode = u16_at(&inode, 4)?;
        if mode >> 12 != 0o4 {
            return Err(damaged());
        }
        let (length, size, uid, gid, mtime) = if is_extended {
            let mtime = (u64_at(&inode, 32)? as i64, u32_at(&inode, 40)?);
            let (uid, gid) = (u32_at(&inode, 24)?, u32_at(&inode, 28)?);
            (64, u64_at(&inode, 8)?, uid, gid, mtime)
        } else {
            let (uid, gid) = (u16_at(&inode, 24)?.into(), u16_at(&inode, 26)?.into());
            (32, u32_at(&inode, 8)?.into(), uid, gid, self.build_time)
        };
        let xattr_size = match u16_at(&inode, 2)? {
            0 => 0,
            count => xattr::HEADER + 4 * (usize::from(count) - 1),
        };
        let bytes = read(self.file, at + length, xattr_size)?;
        let (xattrs, opaque) = Xattrs::decode(&bytes).ok_or_else(damaged)?;
        let is_inline = format >> 1 & 7 == super::format::Layout::Inline as u16;
        Ok(StoredDirectory {
            meta: Meta {
                mode: mode & 0o7777,
                uid,
                gid,
                mtime,
                xattrs,
            },
            opaque,
            implicit: u32_at(&inode, 20)? == IMPLIED,
            size,
            block: u32_at(&inode, 16)?,
            inline: is_inline.then_some(at + length + xattr_size as u64),
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
