//! Undoes the compression of layers and archives, recognised by their first bytes.

use std::io::{self, BufRead, BufReader, Read};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Skippable frames, in which zstd:chunked keeps its table of contents, may come first.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
const BUFFER: usize = 64 << 10;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, of one or more members.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Looks at the first bytes; what is neither gzip nor zstd counts as not compressed.
    pub fn detect(first: &[u8]) -> Self {
        if first.starts_with(&GZIP) {
            Self::Gzip
        } else if first.starts_with(&ZSTD)
            || first.get(1..4) == Some(&ZSTD_SKIPPABLE) && first[0] & 0xf0 == 0x50
        {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// The plain bytes of `reader`, whatever its compression.
pub fn decompress<'a>(reader: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut reader = BufReader::with_capacity(BUFFER, Peeked::new(reader)?);
    let compression = Compression::detect(reader.fill_buf()?);
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(reader)?),
    })
}

/// Makes sure that the first read gives four bytes, though a pipe may bring them one by one.
pub(crate) struct Peeked<R> {
    first: io::Cursor<Vec<u8>>,
    rest: R,
}

impl<R: Read> Peeked<R> {
    pub(crate) fn new(mut rest: R) -> io::Result<Self> {
        let mut first = Vec::with_capacity(4);
        rest.by_ref().take(4).read_to_end(&mut first)?;
        Ok(Self {
            first: io::Cursor::new(first),
            rest,
        })
    }
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.first.read(buf)? {
            0 => self.rest.read(buf),
            n => Ok(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A pipe at its slowest.
    struct OneByOne<'a>(&'a [u8]);

    impl Read for OneByOne<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = buf.len().min(1);
            self.0.read(&mut buf[..n])
        }
    }

    #[test]
    fn every_compression_is_recognised_from_a_slow_pipe() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let gzip = gzip.finish().unwrap();
        let two_members = [&gzip[..], &gzip].concat();
        let zstd = zstd::encode_all(&b"hello"[..], 1).unwrap();
        for (bytes, plain) in [
            (&b"hello"[..], "hello"),
            (&gzip, "hello"),
            (&two_members, "hellohello"),
            (&zstd, "hello"),
            (b"", ""),
        ] {
            let mut read = String::new();
            decompress(OneByOne(bytes))
                .unwrap()
                .read_to_string(&mut read)
                .unwrap();
            assert_eq!(read, plain);
        }
    }

    #[test]
    fn a_stream_that_was_cut_is_an_error() {
        let zstd = zstd::encode_all(&[7; 100_000][..], 1).unwrap();
        assert!(
            decompress(&zstd[..zstd.len() - 3])
                .unwrap()
                .read_to_end(&mut Vec::new())
                .is_err()
        );
    }
}
