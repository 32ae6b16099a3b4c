//! Writes EROFS images: read-only file systems that Linux maps without unpacking anything.
//!
//! File data goes to the image while it is read, block after block; names and attributes stay in a
//! [`Tree`] and follow as metadata; the superblock is last. Data is uncompressed and starts at a
//! block (`EROFS_INODE_FLAT_PLAIN`). Follows
//! `Documentation/filesystems/erofs.rst` and `fs/erofs/erofs_fs.h` of Linux 6.12.

mod dirs;
mod format;
mod metadata;
mod reader;
mod tree;
mod writer;
mod xattr;

pub use reader::{Reader, StoredEntry, StoredInode};
pub use tree::{Directory, Kind, Meta, Node, NodeId, Tree, device_number};
pub use writer::{BLOCK_SIZE, ImageError, ImageWriter};
pub use xattr::Xattrs;
