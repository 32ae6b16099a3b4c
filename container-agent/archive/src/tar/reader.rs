//! Goes through an archive entry by entry without seeking.

use std::io::{self, Read};

use super::header::{BLOCK, Format, Header, number};
use super::pax::{Records, decimal, time};
use super::sparse::{self, Extents, MAX_EXTENTS};
use super::{Entry, EntryKind, TarError};

/// Long names and PAX headers above this size are refused; so does Go's reader, which Docker uses.
const MAX_EXTENSION: u64 = 1 << 20;

/// An archive that is read once, front to back.
///
/// After [`next`](Self::next) the reader gives the stored data of that entry through [`Read`]; what is left
/// unread is skipped.
pub struct TarReader<R> {
    inner: R,
    offset: u64,
    /// Stored bytes of the current entry that are still to be read.
    remaining: u64,
    /// Bytes from the end of its data to the next block.
    padding: u64,
    name: String,
}

/// What extension headers say about the entry that follows them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: PaxSparse,
}

#[derive(Default)]
struct PaxSparse {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    /// Elements of format 0.0 and 0.1, comma separated.
    map: Option<Vec<u8>>,
    version_1: bool,
}

impl<R: Read> TarReader<R> {
    /// Reads the archive that starts where `inner` stands.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            offset: 0,
            remaining: 0,
            padding: 0,
            name: String::new(),
        }
    }

    /// What it read from; no entry's data is skipped before.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry, or `None` at the end of the archive.
    ///
    /// The end is two blocks of zeros, or the end of the stream at the start of a header. What may follow
    /// the zeros is not read.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_rest()?;
            let start = self.offset;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let wrong = |what| TarError::Header {
                offset: start,
                what,
            };
            let size = header
                .size()
                .ok_or_else(|| wrong("its size is not a number"))?;
            match header.typeflag() {
                b'L' => extensions.path = Some(trim_nul(self.extension(size)?)),
                b'K' => extensions.link = Some(trim_nul(self.extension(size)?)),
                b'x' => {
                    let data = self.extension(size)?;
                    extensions.pax(&data).map_err(wrong)?;
                }
                // What holds for the whole archive (a comment, mostly) is left out, as Docker does.
                b'g' => drop(self.extension(size)?),
                _ => return self.entry(&header, extensions, size, start).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        ext: Extensions,
        size: u64,
        start: u64,
    ) -> Result<Entry, TarError> {
        let wrong = |what| TarError::Header {
            offset: start,
            what,
        };
        let mut kind = header.kind();
        let path = ext
            .sparse
            .name
            .or(ext.path)
            .unwrap_or_else(|| header.path());
        if header.typeflag() == b'\0' && path.ends_with(b"/") {
            kind = EntryKind::Directory;
        }
        self.name = format!("entry `{}`", path.escape_ascii());
        // Only files have data; some writers state a size for links and directories all the same.
        let stored = if matches!(kind, EntryKind::File | EntryKind::Other(_)) {
            ext.size.unwrap_or(size)
        } else {
            0
        };
        self.start_data(stored)?;

        let mut entry = Entry {
            link: ext.link.unwrap_or_else(|| header.link()),
            kind,
            mode: header
                .mode()
                .ok_or_else(|| wrong("its mode is not a number"))?,
            uid: ext
                .uid
                .or_else(|| header.uid())
                .ok_or_else(|| wrong("its owner is not a number"))?,
            gid: ext
                .gid
                .or_else(|| header.gid())
                .ok_or_else(|| wrong("its group is not a number"))?,
            size: stored,
            xattrs: ext.xattrs,
            path,
            ..Entry::default()
        };
        (entry.mtime, entry.mtime_nsec) = match ext.mtime {
            Some(mtime) => mtime,
            None => (
                header
                    .mtime()
                    .ok_or_else(|| wrong("its time is not a number"))?,
                0,
            ),
        };
        if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
            entry.device = header
                .device()
                .ok_or_else(|| wrong("its device is not a number"))?;
        }

        let (extents, size) = if header.typeflag() == b'S' {
            if header.format() != Format::Gnu {
                return Err(wrong("a sparse file needs the GNU format"));
            }
            let (extents, size) = self.old_gnu_sparse(header)?;
            (Some(extents), Some(size))
        } else if ext.sparse.version_1 {
            (Some(self.pax_1_sparse()?), ext.sparse.size)
        } else if let Some(map) = &ext.sparse.map {
            let extents = sparse::from_comma_list(map).ok_or_else(|| self.malformed_map())?;
            (Some(extents), ext.sparse.size)
        } else {
            (None, None)
        };
        if let Some(extents) = extents {
            entry.size = size.ok_or_else(|| self.malformed_map())?;
            if kind != EntryKind::File || !sparse::are_sound(&extents, entry.size, self.remaining) {
                return Err(self.malformed_map());
            }
            entry.extents = Some(extents);
        }
        Ok(entry)
    }

    /// Reads a header block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let offset = self.offset;
        let mut header = Header([0; BLOCK]);
        match self.fill(&mut header.0)? {
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(TarError::Truncated("a header".to_owned())),
        }
        if header.is_zero() {
            // One block of zeros ends it as well; a second one is only taken off the stream.
            let mut second = [0; BLOCK];
            self.fill(&mut second)?;
            return Ok(None);
        }
        if !header.checksum_is_right() {
            return Err(TarError::Header {
                offset,
                what: "its checksum is wrong",
            });
        }
        Ok(Some(header))
    }

    /// The whole data of an extension header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENSION {
            return Err(TarError::Header {
                offset: self.offset,
                what: "an extended header is above 1 MiB",
            });
        }
        self.name = "an extended header".to_owned();
        self.start_data(size)?;
        let mut data = vec![0; size as usize];
        self.read_exact(&mut data).map_err(TarError::Read)?;
        Ok(data)
    }

    /// The header's own four elements and those of the blocks that follow it.
    fn old_gnu_sparse(&mut self, header: &Header) -> Result<(Extents, u64), TarError> {
        let mut extents = Vec::new();
        let size = number(&header.0[483..495]).and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| self.malformed_map())?;
        sparse::old_gnu_table(&header.0[386..482], &mut extents)
            .ok_or_else(|| self.malformed_map())?;
        let mut more = header.0[482] != 0;
        while more {
            // These blocks stand in front of the data and are not part of its size.
            let mut block = [0; BLOCK];
            if self.fill(&mut block)? != BLOCK {
                return Err(TarError::Truncated(self.name.clone()));
            }
            sparse::old_gnu_table(&block[..504], &mut extents)
                .ok_or_else(|| self.malformed_map())?;
            if extents.len() > MAX_EXTENTS {
                return Err(self.malformed_map());
            }
            more = block[504] != 0;
        }
        Ok((extents, size))
    }

    fn pax_1_sparse(&mut self) -> Result<Extents, TarError> {
        let malformed = self.malformed_map();
        let mut failed = None;
        let result = sparse::from_data(
            || {
                let mut block = [0; BLOCK];
                self.read_exact(&mut block)
                    .map(|()| block)
                    .map_err(|err| failed = Some(err))
            },
            || (),
        );
        match (result, failed) {
            (Ok((extents, _)), _) => Ok(extents),
            (Err(()), Some(err)) => Err(TarError::Read(err)),
            (Err(()), None) => Err(malformed),
        }
    }

    fn malformed_map(&self) -> TarError {
        let entry = self
            .name
            .trim_start_matches("entry `")
            .trim_end_matches('`')
            .to_owned();
        TarError::Entry {
            entry,
            what: "a malformed map of a sparse file",
        }
    }

    fn start_data(&mut self, size: u64) -> Result<(), TarError> {
        if size > i64::MAX as u64 {
            return Err(TarError::Header {
                offset: self.offset,
                what: "its size is beyond any file's",
            });
        }
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(())
    }

    /// Reads on to the next header.
    fn skip_rest(&mut self) -> Result<(), TarError> {
        let mut left = self.remaining + self.padding;
        (self.remaining, self.padding) = (0, 0);
        let mut buf = [0; 16 * BLOCK];
        while left > 0 {
            let want = left.min(buf.len() as u64) as usize;
            let n = self.fill(&mut buf[..want])?;
            if n < want {
                return Err(TarError::Truncated(self.name.clone()));
            }
            left -= n as u64;
        }
        Ok(())
    }

    /// Reads until `buf` is full or the stream ends, and says how much it has.
    fn fill(&mut self, buf: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.inner.read(&mut buf[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(TarError::Read(err)),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }
}

/// The data of the current entry, as it is stored: of a sparse file only the pieces that have data.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = self.remaining.min(buf.len() as u64) as usize;
        if want == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buf[..want])?;
        if n == 0 {
            let message = format!("the archive ends in the middle of {}", self.name);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.offset += n as u64;
        self.remaining -= n as u64;
        Ok(n)
    }
}

impl Extensions {
    fn pax(&mut self, data: &[u8]) -> Result<(), &'static str> {
        for record in Records(data) {
            let (key, value) = record?;
            let number = || decimal(value).ok_or("a PAX record is not a number");
            match key {
                // An empty value takes the record of an earlier header back.
                b"path" => self.path = text(value)?,
                b"linkpath" => self.link = text(value)?,
                b"size" => self.size = Some(number()?),
                b"uid" => {
                    self.uid = Some(
                        number()?
                            .try_into()
                            .map_err(|_| "an owner is above 32 bits")?,
                    )
                }
                b"gid" => {
                    self.gid = Some(
                        number()?
                            .try_into()
                            .map_err(|_| "a group is above 32 bits")?,
                    )
                }
                b"mtime" => self.mtime = Some(time(value).ok_or("a PAX record is not a time")?),
                b"GNU.sparse.name" => self.sparse.name = text(value)?,
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = Some(number()?),
                b"GNU.sparse.map" => self.sparse.map = Some(value.to_vec()),
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    let map = self.sparse.map.get_or_insert_default();
                    if !map.is_empty() {
                        map.push(b',');
                    }
                    map.extend_from_slice(value);
                }
                b"GNU.sparse.major" => self.sparse.version_1 = value == b"1",
                _ => {
                    // Here as well an empty value says that there is none.
                    if let Some(name) = key
                        .strip_prefix(b"SCHILY.xattr.")
                        .filter(|_| !value.is_empty())
                    {
                        self.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Ok(())
    }
}

fn text(value: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    if value.contains(&0) {
        return Err("a PAX name holds a NUL");
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn trim_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|&byte| byte == 0) {
        name.truncate(end);
    }
    name
}
