//! From layer blobs to EROFS images: one layer to one image, or several to one.

use std::fs::File;
use std::io::{self, Read};

use crate::ahead::ahead;
use crate::compression::decompress;
use crate::digest::{Digest, Hashing};
use crate::erofs::{ImageError, ImageWriter, Tree};
use crate::layer::{LayerError, LayerReader, Limits};

/// Why a layer does not become a file system.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// What it unpacks to is not what the image's configuration says.
    #[error("layer {expected} is damaged: it unpacks to {found}")]
    DiffId {
        /// DiffID in the configuration.
        expected: Digest,
        /// Digest of what was unpacked.
        found: Digest,
    },
    /// One of its entries, or the archive, is not right.
    #[error("layer {diff_id} cannot be used")]
    Layer {
        /// DiffID in the configuration.
        diff_id: Digest,
        /// What is wrong with it.
        #[source]
        source: Box<LayerError>,
    },
    /// A tarball that is to become a layer is not right.
    #[error("the tarball cannot be used")]
    Tarball(#[source] Box<LayerError>),
    /// Its blob cannot be opened.
    #[error("layer {diff_id} cannot be opened")]
    Blob {
        /// DiffID in the configuration.
        diff_id: Digest,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The image could not be written.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Reads `layers`, lowest first, each with its DiffID, and writes one image of them to `image`.
///
/// A single layer keeps its whiteouts, for overlayfs; of several, only what they amount to is left. Nothing is
/// synced.
pub(crate) fn convert(
    layers: &[(Digest, File)],
    image: File,
    limits: Limits,
    uuid: &Digest,
) -> Result<File, ConvertError> {
    let mut writer = ImageWriter::new(image)?;
    let mut merged: Option<Tree> = None;
    for (diff_id, blob) in layers {
        let tree = read_layer(*diff_id, blob, &mut writer, limits, &|| {})?;
        match &mut merged {
            None => merged = Some(tree),
            Some(lower) => lower.merge(tree),
        }
    }
    finish(writer, &merged.unwrap_or_default(), uuid)
}

/// The same for one layer from a stream, which is read to its end. `abandon` is called on failure, and makes
/// whoever waits for the rest of the stream stop that.
pub(crate) fn convert_stream(
    diff_id: Digest,
    blob: impl Read + Send,
    image: File,
    limits: Limits,
    abandon: &dyn Fn(),
) -> Result<File, ConvertError> {
    let mut writer = ImageWriter::new(image)?;
    let tree = read_layer(diff_id, blob, &mut writer, limits, abandon)?;
    finish(writer, &tree, &diff_id)
}

/// The same for plain bytes of which the DiffID is not known yet; returns it.
pub(crate) fn convert_plain(
    tar: impl Read + Send,
    image: File,
    limits: Limits,
) -> Result<(File, Digest), ConvertError> {
    let mut writer = ImageWriter::new(image)?;
    let failed = |err| ConvertError::Tarball(Box::new(err));
    let tar = limited(tar, limits);
    let (tree, diff_id) = read_plain(tar, &mut writer, limits, &|| {}).map_err(failed)?;
    Ok((finish(writer, &tree, &diff_id)?, diff_id))
}

/// Only tells whether a blob unpacks to what it should.
pub(crate) fn verify(
    diff_id: Digest,
    blob: impl Read + Send,
    limits: Limits,
) -> Result<(), ConvertError> {
    let unreadable = |err| ConvertError::Layer {
        diff_id,
        source: Box::new(unreadable(err)),
    };
    let plain = decompress(blob).map_err(unreadable)?;
    let mut stream = Hashing::new(limited(plain, limits));
    io::copy(&mut stream, &mut io::sink()).map_err(unreadable)?;
    expect(diff_id, stream.finish().0)
}

fn finish(writer: ImageWriter, tree: &Tree, uuid: &Digest) -> Result<File, ConvertError> {
    let mut uuid_bytes = [0; 16];
    uuid_bytes.copy_from_slice(&uuid.as_bytes()[..16]);
    Ok(writer.finish(tree, uuid_bytes)?)
}

fn read_layer(
    diff_id: Digest,
    blob: impl Read + Send,
    writer: &mut ImageWriter,
    limits: Limits,
    abandon: &dyn Fn(),
) -> Result<Tree, ConvertError> {
    let failed = |source| ConvertError::Layer {
        diff_id,
        source: Box::new(source),
    };
    let plain = decompress(blob).map_err(|err| failed(unreadable(err)))?;
    let plain = limited(plain, limits);
    let (tree, found) = read_plain(plain, writer, limits, abandon).map_err(failed)?;
    expect(diff_id, found)?;
    Ok(tree)
}

/// Reads a tar stream to its end; returns its digest as well.
fn read_plain(
    tar: impl Read + Send,
    writer: &mut ImageWriter,
    limits: Limits,
    abandon: &dyn Fn(),
) -> Result<(Tree, Digest), LayerError> {
    ahead(tar, |tar| {
        let read = || {
            let mut stream = Hashing::new(tar);
            let tree = LayerReader::new(writer, limits).read(&mut stream)?;
            // The DiffID covers what stands behind the archive's end as well.
            io::copy(&mut stream, &mut io::sink()).map_err(unreadable)?;
            Ok((tree, stream.finish().0))
        };
        let result = read();
        if result.is_err() {
            abandon();
        }
        result
    })
}

fn unreadable(err: io::Error) -> LayerError {
    LayerError::Tar(crate::tar::TarError::Read(err))
}

fn expect(expected: Digest, found: Digest) -> Result<(), ConvertError> {
    if found == expected {
        Ok(())
    } else {
        Err(ConvertError::DiffId { expected, found })
    }
}

/// The plain bytes of a layer, which have to end. Headers and padding count too.
fn limited<R: Read>(plain: R, limits: Limits) -> Limited<R> {
    Limited {
        inner: plain,
        left: limits
            .bytes
            .saturating_add(limits.entries.saturating_mul(4096)),
    }
}

/// Fails once more than `left` bytes have passed.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| io::Error::other("it unpacks to more than the limit"))?;
        Ok(n)
    }
}
