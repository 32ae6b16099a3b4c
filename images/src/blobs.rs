//! Content by digest: the `blobs` folder of an OCI image layout.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hashing};
use crate::workspace::publish;

/// Manifests and configurations above this size are refused, as registries do.
pub(crate) const MAX_JSON: u64 = 4 << 20;

/// The folder of an image layout with its blobs; only complete and verified ones are in it.
#[derive(Debug)]
pub(crate) struct Blobs {
    folder: PathBuf,
}

/// Why a blob cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It is not there.
    #[error("the content {0} is missing from the image store: load or pull the image again")]
    Missing(Digest),
    /// It is there, but not what it should be; somebody wrote to the store.
    #[error(
        "the content {0} in the image store is damaged: remove the image and load or pull it again"
    )]
    Damaged(Digest),
    /// It cannot be read.
    #[error("reading the content {0} from the image store failed")]
    Read(Digest, #[source] io::Error),
}

impl Blobs {
    pub(crate) fn new(content: &Path) -> Self {
        Self {
            folder: content.join("blobs/sha256"),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    pub(crate) fn open(&self, digest: &Digest) -> Result<File, BlobError> {
        File::open(self.path(digest)).map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(*digest),
            _ => BlobError::Read(*digest, err),
        })
    }

    /// Reads a small blob whole and verifies it.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let mut bytes = Vec::new();
        self.open(digest)?
            .take(MAX_JSON + 1)
            .read_to_end(&mut bytes)
            .map_err(|err| BlobError::Read(*digest, err))?;
        if bytes.len() as u64 > MAX_JSON || Digest::of(&bytes) != *digest {
            return Err(BlobError::Damaged(*digest));
        }
        Ok(bytes)
    }

    /// Moves a synced file of which `digest` was verified into the store.
    pub(crate) fn publish(&self, from: &Path, digest: &Digest) -> io::Result<()> {
        publish(from, &self.path(digest))
    }
}

/// Copies `from` to a new file, synced, and returns what was copied.
pub(crate) fn spool(from: &mut impl Read, to: &Path) -> io::Result<(Digest, u64)> {
    let mut to = Hashing::new(File::options().write(true).create_new(true).open(to)?);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => io::Write::write_all(&mut to, &buffer[..n])?,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    let (digest, size, _) = to.finish();
    Ok((digest, size))
}

/// All blobs' digests; what is not named like one is left alone.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<Digest>> {
    let mut digests = Vec::new();
    for entry in fs::read_dir(folder)? {
        if let Some(digest) = entry?
            .file_name()
            .to_str()
            .and_then(|name| Digest::from_hex(name).ok())
        {
            digests.push(digest);
        }
    }
    Ok(digests)
}
