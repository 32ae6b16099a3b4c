//! Writes tar streams: POSIX headers, with PAX records for what does not fit into them.

use std::io::{self, Read, Write};

use crate::tar::{Entry, EntryKind};

const BLOCK: usize = 512;

/// The largest numbers of a header's fields of 8 and 12 octal digits.
const MAX_ID: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;

/// An archive that is being written.
pub struct TarWriter<W> {
    inner: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// Writes to `inner`, which should be buffered.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            buffer: vec![0; 64 << 10],
        }
    }

    /// Writes an entry without data.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        self.header(entry, 0)
    }

    /// Writes a file with `entry.size` bytes of `data`; one that turns out shorter is filled with zeros.
    pub fn append_file(&mut self, entry: &Entry, data: &mut impl Read) -> io::Result<()> {
        self.header(entry, entry.size)?;
        let mut left = entry.size;
        while left > 0 {
            let wanted =
                usize::try_from(left).map_or(self.buffer.len(), |l| l.min(self.buffer.len()));
            let read = match data.read(&mut self.buffer[..wanted]) {
                Ok(0) => {
                    self.buffer[..wanted].fill(0);
                    wanted
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.inner.write_all(&self.buffer[..read])?;
            left -= read as u64;
        }
        self.pad(entry.size)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn header(&mut self, entry: &Entry, size: u64) -> io::Result<()> {
        let records = records(entry, size);
        if !records.is_empty() {
            let mut header = Header::new(b'x', b"PaxHeaders/entry");
            header.number(124, 12, records.len() as u64);
            self.inner.write_all(&header.finish())?;
            self.inner.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        let kind = match entry.kind {
            EntryKind::File => b'0',
            EntryKind::HardLink => b'1',
            EntryKind::Symlink => b'2',
            EntryKind::CharDevice => b'3',
            EntryKind::BlockDevice => b'4',
            EntryKind::Directory => b'5',
            EntryKind::Fifo => b'6',
            EntryKind::Other(flag) => flag,
        };
        let mut header = Header::new(kind, &entry.path);
        header.number(100, 8, u64::from(entry.mode));
        header.number(108, 8, u64::from(entry.uid.min(MAX_ID)));
        header.number(116, 8, u64::from(entry.gid.min(MAX_ID)));
        header.number(124, 12, size.min(MAX_SIZE));
        header.number(
            136,
            12,
            u64::try_from(entry.mtime).unwrap_or(0).min(MAX_SIZE),
        );
        header.text(157, 100, &entry.link);
        let (major, minor) = entry.device;
        header.number(329, 8, u64::from(major));
        header.number(337, 8, u64::from(minor));
        self.inner.write_all(&header.finish())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = (size % BLOCK as u64) as usize;
        match over {
            0 => Ok(()),
            over => self.inner.write_all(&[0; BLOCK][over..]),
        }
    }
}

/// The PAX records for what a header can't hold.
fn records(entry: &Entry, size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |name: &[u8], value: &[u8]| record(&mut records, name, value);
    if entry.path.len() > 100 {
        add(b"path", &entry.path);
    }
    if entry.link.len() > 100 {
        add(b"linkpath", &entry.link);
    }
    if size > MAX_SIZE {
        add(b"size", size.to_string().as_bytes());
    }
    if entry.uid > MAX_ID {
        add(b"uid", entry.uid.to_string().as_bytes());
    }
    if entry.gid > MAX_ID {
        add(b"gid", entry.gid.to_string().as_bytes());
    }
    if entry.mtime < 0 || entry.mtime_nsec != 0 {
        add(b"mtime", time(entry.mtime, entry.mtime_nsec).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

fn time(seconds: i64, nanoseconds: u32) -> String {
    // Nanoseconds count upwards, and the digits behind the point away from zero.
    match (seconds, nanoseconds) {
        (seconds @ ..0, nanoseconds @ 1..) => match seconds + 1 {
            0 => format!("-0.{:09}", 1_000_000_000 - nanoseconds),
            whole => format!("{whole}.{:09}", 1_000_000_000 - nanoseconds),
        },
        (seconds, nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
    }
}

/// A record begins with its own length in decimal digits.
fn record(to: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let rest = name.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    to.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", name, b"=", value, b"\n"] {
        to.extend_from_slice(part);
    }
}

struct Header([u8; BLOCK]);

impl Header {
    fn new(kind: u8, path: &[u8]) -> Self {
        let mut header = Self([0; BLOCK]);
        header.text(0, 100, path);
        header.0[156] = kind;
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        header
    }

    /// Octal digits with a zero byte behind them.
    fn number(&mut self, at: usize, length: usize, value: u64) {
        let digits = format!("{value:0width$o}", width = length - 1);
        self.text(at, length - 1, digits.as_bytes());
    }

    fn text(&mut self, at: usize, length: usize, text: &[u8]) {
        let text = &text[..text.len().min(length)];
        self.0[at..at + text.len()].copy_from_slice(text);
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.number(148, 7, sum);
        self.0[154] = 0;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::TarReader;

    #[test]
    fn what_is_written_is_read() {
        let long = Entry {
            path: [b"long/".repeat(60), b"\xff".to_vec()].concat(),
            mode: 0o4755,
            uid: 3_000_000_000,
            gid: 7,
            mtime: -5,
            mtime_nsec: 250_000_000,
            size: 1000,
            xattrs: vec![(b"user.x".to_vec(), b"a\n=\0".to_vec())],
            ..Entry::default()
        };
        let link = Entry {
            path: b"link".to_vec(),
            link: b"t".repeat(150),
            kind: EntryKind::Symlink,
            mode: 0o777,
            mtime: 1_700_000_000,
            ..Entry::default()
        };
        let device = Entry {
            path: b"device".to_vec(),
            kind: EntryKind::BlockDevice,
            device: (8, 17),
            ..Entry::default()
        };
        let mut writer = TarWriter::new(Vec::new());
        writer
            .append_file(&long, &mut &[7_u8; 900][..])
            .expect("written");
        writer.append(&link).expect("written");
        writer.append(&device).expect("written");
        let archive = writer.finish().expect("written");
        let mut reader = TarReader::new(archive.as_slice());
        assert_eq!(reader.next().expect("read"), Some(long));
        let mut data = Vec::new();
        reader.read_to_end(&mut data).expect("read");
        assert_eq!(data, [vec![7; 900], vec![0; 100]].concat());
        assert_eq!(reader.next().expect("read"), Some(link));
        assert_eq!(reader.next().expect("read"), Some(device));
        assert_eq!(reader.next().expect("read"), None);
    }
}
