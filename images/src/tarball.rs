//! Makes an image of one layer of a root file system in a tarball, as `docker import` does.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use flate2::write::GzEncoder;
use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType};
use serde_json::{Map, Value, json};

use crate::blobs::spool;
use crate::change::{Change, ChangeError};
use crate::compression::{Compression, Peeked, decompress};
use crate::convert::convert_plain;
use crate::digest::{Digest, Hashing};
use crate::image::Layer;
use crate::layer::Limits;
use crate::layers::create;
use crate::load::{Found, LoadError, Loaded};
use crate::platform::Platform;
use crate::program::{ProgramError, decompressed};
use crate::reference::Reference;
use crate::store::{Store, StoreError};
use crate::workspace::{Workspace, publish};

/// What an imported image is to be.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Its name, if it is to have one.
    pub reference: Option<Reference>,
    /// What `rvm history` shows as the layer's comment.
    pub message: String,
    /// What the programs in it run on.
    pub platform: Platform,
    /// Its configuration, made from nothing.
    pub changes: Vec<Change>,
    /// How much the tarball may unpack to.
    pub limits: Limits,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            reference: None,
            message: "Imported from -".to_owned(),
            platform: Platform::host(),
            changes: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A change cannot be made.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// It is compressed in a way that another program has to read.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The tarball is damaged or means harm, or the store cannot be written.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A layer on its way into the store: file names in the workspace.
pub(crate) struct New {
    pub(crate) layer: Layer,
    pub(crate) media_type: MediaType,
}

const BLOB: &str = "import";
const IMAGE: &str = "import.erofs";

impl Store {
    /// Makes an image of `tarball`, plain or compressed with gzip, zstd, xz or bzip2, which is read to its end.
    ///
    /// One of gzip or zstd becomes the layer as it is, others are compressed with gzip; xz and bzip2 are read by
    /// the programs of that name.
    pub fn import(
        &self,
        tarball: impl Read + Send,
        options: &ImportOptions,
    ) -> Result<Loaded, ImportError> {
        let mut config = Map::new();
        for change in &options.changes {
            change.apply(&mut config)?;
        }
        let _hold = self.hold()?;
        let workspace = self.workspace()?;
        let new = new_layer(&workspace, tarball, options.limits)?;
        let config = configuration(&new.layer, config, options);
        let found = found(new, &config, options)?;
        self.admit(&workspace, &found.layers[0], &found.config.0, &config)?;
        Ok(crate::import::name(self, &workspace, &found)?)
    }

    /// Moves the layer and the configuration into the store.
    pub(crate) fn admit(
        &self,
        workspace: &Workspace,
        layer: &Layer,
        id: &Digest,
        config: &[u8],
    ) -> Result<(), LoadError> {
        let path = workspace.path().join("config");
        let failed = |source| LoadError::Store {
            path: path.clone(),
            source,
        };
        spool(&mut &*config, &path).map_err(failed)?;
        let folder = workspace.path();
        let admit = || {
            for (from, digest) in [(folder.join(BLOB), layer.digest), (path.clone(), *id)] {
                if !self.blobs.contains(&digest) {
                    File::open(&from)?.sync_all()?;
                    self.blobs.publish(&from, &digest)?;
                }
            }
            let image = self.layer_path(&layer.diff_id);
            if image.exists() {
                return Ok(());
            }
            publish(&folder.join(IMAGE), &image)
        };
        admit().map_err(failed)
    }
}

/// Reads the tarball once: its bytes go to the blob, its files to the file system.
pub(crate) fn new_layer(
    workspace: &Workspace,
    tarball: impl Read + Send,
    limits: Limits,
) -> Result<New, ImportError> {
    let folder = workspace.path();
    let store = |source| LoadError::Store {
        path: folder.join(BLOB),
        source,
    };
    let mut tarball = BufReader::with_capacity(
        256 << 10,
        Peeked::new(tarball).map_err(LoadError::Compression)?,
    );
    let first = io::BufRead::fill_buf(&mut tarball).map_err(LoadError::Compression)?;
    let compression = Compression::detect(first);
    let program = foreign(first);
    let mut blob = Hashing::new(create(&folder.join(BLOB)).map_err(store)?);
    let image = create(&folder.join(IMAGE)).map_err(store)?;
    let (image, diff_id) = match (compression, program) {
        (Compression::None, None) => compressing(tarball, &mut blob, image, limits)?,
        (Compression::None, Some(program)) => decompressed(program, tarball, |plain| {
            compressing(plain, &mut blob, image, limits)
        })?,
        _ => {
            let tee = Tee {
                from: tarball,
                to: &mut blob,
            };
            let plain = decompress(tee).map_err(LoadError::Compression)?;
            convert_plain(plain, image, limits).map_err(LoadError::Convert)?
        }
    };
    image.sync_all().map_err(store)?;
    let (digest, size, _) = blob.finish();
    let media_type = match compression {
        Compression::Zstd => MediaType::ImageLayerZstd,
        Compression::None | Compression::Gzip => MediaType::ImageLayerGzip,
    };
    let layer = Layer {
        diff_id,
        digest,
        size,
    };
    Ok(New { layer, media_type })
}

/// Converts a plain tar stream, and compresses it to `blob` on the way.
fn compressing(
    tar: impl Read + Send,
    blob: &mut Hashing<File>,
    image: File,
    limits: Limits,
) -> Result<(File, Digest), ImportError> {
    let mut gzip = GzEncoder::new(blob, flate2::Compression::fast());
    let tee = Tee {
        from: tar,
        to: &mut gzip,
    };
    let converted = convert_plain(tee, image, limits).map_err(LoadError::Convert)?;
    gzip.finish().map_err(|source| LoadError::Store {
        path: BLOB.into(),
        source,
    })?;
    Ok(converted)
}

/// The program that reads what Docker would import and no registry would take.
fn foreign(first: &[u8]) -> Option<&'static str> {
    if first.starts_with(b"\xfd7zX") {
        Some("xz")
    } else if first.starts_with(b"BZh") {
        Some("bzip2")
    } else {
        None
    }
}

fn configuration(layer: &Layer, config: Map<String, Value>, options: &ImportOptions) -> Vec<u8> {
    let now = jiff::Timestamp::now().to_string();
    let mut document = json!({
        "created": now,
        "architecture": options.platform.architecture,
        "os": options.platform.os,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        "history": [{"created": now, "comment": options.message}],
    });
    if let Some(variant) = &options.platform.variant {
        document["variant"] = variant.clone().into();
    }
    document.to_string().into_bytes()
}

fn found(new: New, config: &[u8], options: &ImportOptions) -> Result<Found, LoadError> {
    let descriptor = |media_type, digest: Digest, size| {
        let digest: oci_spec::image::Digest = digest.to_string().parse().ok()?;
        Some(Descriptor::new(media_type, size, digest))
    };
    let id = Digest::of(config);
    let size = config.len() as u64;
    let manifest = || {
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(descriptor(MediaType::ImageConfig, id, size)?)
            .layers(vec![descriptor(
                new.media_type,
                new.layer.digest,
                new.layer.size,
            )?])
            .build();
        serde_json::to_vec(&manifest.ok()?).ok()
    };
    Ok(Found {
        manifest: manifest().ok_or(LoadError::NotAnImage)?,
        config: (id, size),
        layers: vec![new.layer],
        references: options.reference.iter().cloned().collect(),
        digest: None,
    })
}

/// Writes down what is read through it.
struct Tee<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.to.write_all(&buf[..n])?;
        Ok(n)
    }
}
