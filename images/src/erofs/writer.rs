//! Puts file data into an image as it comes, and closes the image with its metadata.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use super::format::Superblock;
use super::metadata::Metadata;
use super::tree::Tree;

/// Bytes in a block: a page, so that blocks can be mapped.
pub const BLOCK_SIZE: usize = 4096;
/// Finished images are a multiple of this long (the tail is a hole): what virtio-pmem can map.
const IMAGE_ALIGNMENT: u64 = 2 << 20;
/// Shorter holes are written out.
const MIN_HOLE: u64 = 64 << 10;

/// Why an image could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The data to be stored could not be read.
    #[error(transparent)]
    Read(io::Error),
    /// Writing failed.
    #[error("writing the file system image failed")]
    Write(#[source] io::Error),
    /// Block numbers have 32 bits.
    #[error("a file system image cannot be larger than 16 TiB")]
    TooLarge,
}

/// An EROFS image in the making. It is no file system before [`finish`](Self::finish).
pub struct ImageWriter {
    out: BufWriter<File>,
    position: u64,
    buffer: Vec<u8>,
}

impl ImageWriter {
    /// Writes to `file`, which is empty.
    pub fn new(file: File) -> Result<Self, ImageError> {
        let mut writer = Self {
            out: BufWriter::with_capacity(1 << 20, file),
            position: 0,
            buffer: vec![0; 128 << 10],
        };
        // The superblock's place, written at the end.
        writer.skip(BLOCK_SIZE as u64)?;
        Ok(writer)
    }

    /// Stores a file of `size` bytes and returns its first block.
    ///
    /// `extents` are the pieces that `data` has, in order and within `size`; the rest is holes.
    pub fn write_file(
        &mut self,
        size: u64,
        extents: &[(u64, u64)],
        data: &mut impl Read,
    ) -> Result<u32, ImageError> {
        let start = self.position;
        let block = block_number(start)?;
        block_number(start.checked_add(size).ok_or(ImageError::TooLarge)?)?;
        for &(offset, length) in extents {
            self.fill_to(start + offset)?;
            self.copy(length, data)?;
        }
        self.fill_to(start + size)?;
        self.align()?;
        Ok(block)
    }

    /// Writes the metadata of `tree`, whose files are all in this image, and the superblock.
    ///
    /// Nothing is synced.
    pub fn finish(mut self, tree: &Tree, uuid: [u8; 16]) -> Result<File, ImageError> {
        let metadata = Metadata::lay_out(tree, block_number(self.position)?);
        metadata.write(|bytes| self.put(bytes))?;
        self.align()?;
        let superblock = Superblock {
            root_nid: metadata.root_nid(),
            inodes: metadata.inodes(),
            build_time: metadata.build_time(),
            blocks: block_number(self.position)?,
            metadata_block: metadata.first_inode_block(),
            uuid,
        };
        self.out
            .seek(SeekFrom::Start(0))
            .map_err(ImageError::Write)?;
        self.out
            .write_all(&superblock.encode())
            .map_err(ImageError::Write)?;
        let file = self
            .out
            .into_inner()
            .map_err(|err| ImageError::Write(err.into_error()))?;
        file.set_len(self.position.next_multiple_of(IMAGE_ALIGNMENT))
            .map_err(ImageError::Write)?;
        Ok(file)
    }

    fn copy(&mut self, mut length: u64, data: &mut impl Read) -> Result<(), ImageError> {
        while length > 0 {
            let want = length.min(self.buffer.len() as u64) as usize;
            let n = match data.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(ImageError::Read(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => n,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(ImageError::Read(err)),
            };
            self.out
                .write_all(&self.buffer[..n])
                .map_err(ImageError::Write)?;
            self.position += n as u64;
            length -= n as u64;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.position += bytes.len() as u64;
        self.out.write_all(bytes).map_err(ImageError::Write)
    }

    fn align(&mut self) -> Result<(), ImageError> {
        self.fill_to(self.position.next_multiple_of(BLOCK_SIZE as u64))
    }

    fn fill_to(&mut self, position: u64) -> Result<(), ImageError> {
        let length = position - self.position;
        if length >= MIN_HOLE {
            return self.skip(length);
        }
        let zeros = [0; BLOCK_SIZE];
        let mut left = length as usize;
        while left > 0 {
            let n = left.min(BLOCK_SIZE);
            self.put(&zeros[..n])?;
            left -= n;
        }
        Ok(())
    }

    fn skip(&mut self, length: u64) -> Result<(), ImageError> {
        self.position += length;
        self.out
            .seek(SeekFrom::Start(self.position))
            .map_err(ImageError::Write)?;
        Ok(())
    }
}

/// The block at `position`, which is the start of one.
fn block_number(position: u64) -> Result<u32, ImageError> {
    u32::try_from(position / BLOCK_SIZE as u64).map_err(|_| ImageError::TooLarge)
}
