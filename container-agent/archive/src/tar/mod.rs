//! Reads tar streams as layers come in: POSIX (PAX), GNU and old formats, sparse files, any bytes in names.
//!
//! Own code, because a layer's extended attributes are binary and a reader has to take PAX records by their
//! length (the `tar` crate splits them at line feeds), has to know PAX sparse files, and must not
//! let a header make it reserve memory.

mod header;
mod pax;
mod reader;
mod sparse;

pub use reader::TarReader;

/// One member of an archive, with everything its headers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The name as it is in the archive: no byte of it has been judged.
    pub path: Vec<u8>,
    /// What a hard or symbolic link points to.
    pub link: Vec<u8>,
    /// What the entry makes.
    pub kind: EntryKind,
    /// Permission bits with set-uid, set-gid and sticky; no file type.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds to be added to `mtime`.
    pub mtime_nsec: u32,
    /// Size of the file that is made, holes included, in bytes.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes with their full names.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Offset and length of each piece of a sparse file that has data; `None` when all of it has.
    pub extents: Option<Vec<(u64, u64)>>,
}

/// The kind of an [`Entry`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    #[default]
    File,
    /// A second name for a file that is already there.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A type that no layer may have, with its type flag.
    Other(u8),
}

/// Why an archive cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream below failed; for compressed layers this is how damage shows.
    #[error("reading the archive failed")]
    Read(#[source] std::io::Error),
    /// The stream ended inside an entry.
    #[error("the archive ends in the middle of {0}")]
    Truncated(String),
    /// Neither a header nor the end of an archive.
    #[error("the archive has no valid header at byte {offset}: {what}")]
    Header {
        /// Bytes from the start of the stream.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A header that was read, but says what cannot be.
    #[error("entry `{entry}` has {what}")]
    Entry {
        /// Its name.
        entry: String,
        /// What is wrong with it.
        what: &'static str,
    },
}
