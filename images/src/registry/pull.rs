//! Pulling: manifest, configuration, layers in parallel, each converted behind its download; the name comes last.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::config::RegistryConfig;
use super::download::{Wanted, download};
use super::endpoints::{Purpose, at_endpoints};
use super::error::RegistryError;
use super::growing::Growing;
use super::http::Http;
use super::manifests::choose;
use crate::convert::{ConvertError, convert_stream, verify};
use crate::digest::Digest;
use crate::image::Layer;
use crate::layer::Limits;
use crate::layers::{create, in_threads};
use crate::load::{Found, config_of, join};
use crate::platform::Platform;
use crate::progress::{Progress, Step};
use crate::reference::Reference;
use crate::store::Store;
use crate::workspace::{Workspace, lock_file, publish};

/// Layers on their way at once, as with Docker.
const DOWNLOADS: usize = 3;

/// How to pull.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// For which platform.
    pub platform: Platform,
    /// How much a layer may unpack to.
    pub limits: Limits,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            platform: Platform::host(),
            limits: Limits::default(),
        }
    }
}

/// What a pull brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image's id.
    pub id: Digest,
    /// What the name leads to in the registry.
    pub digest: Digest,
    /// Whether the name led to something else here before.
    pub is_newer: bool,
}

/// All tags of a repository.
pub fn all_tags(reference: &Reference) -> Result<Vec<String>, RegistryError> {
    let http = Http::new(RegistryConfig::load()?);
    at_endpoints(&http, reference, Purpose::Pull, |client| client.tags())
}

impl Store {
    /// Pulls an image from its registry.
    pub fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled, RegistryError> {
        let http = Http::new(RegistryConfig::load()?);
        at_endpoints(&http, reference, Purpose::Pull, |client| {
            let pull = Pull {
                store: self,
                client,
                options,
                progress,
                verified: OnceLock::new(),
            };
            pull.run(reference)
        })
    }
}

struct Pull<'a> {
    store: &'a Store,
    client: &'a Client<'a>,
    options: &'a PullOptions,
    progress: &'a dyn Progress,
    /// Blobs and the DiffIDs that they were seen to unpack to, once somebody asks.
    verified: OnceLock<HashSet<(Digest, Digest)>>,
}

impl Pull<'_> {
    fn run(&self, reference: &Reference) -> Result<Pulled, RegistryError> {
        let name = reference.familiar();
        let bad = |err| RegistryError::Document(name.clone(), err);
        let asked = match reference.digest() {
            Some(digest) => digest.to_string(),
            None => reference.tag().unwrap_or("latest").to_owned(),
        };
        let top = self.client.manifest(&asked)?;
        let digest = top.digest;
        let before = self.store.resolve(&reference.to_string()).ok();
        let manifest = choose(self.client, top, &self.options.platform, &name)?;

        // From here on garbage collection leaves alone what no name leads to yet.
        let _hold = self.store.hold()?;
        let workspace = self.store.workspace()?;
        let (config_digest, config_size) = config_of(&manifest).map_err(bad)?;
        let config = self.config(&workspace, &config_digest, config_size)?;
        let mut found = join(
            manifest,
            &config,
            vec![reference.clone()],
            &self.options.platform,
        )
        .map_err(bad)?;
        found.digest = Some(digest);
        self.layers(&workspace, &found)?;
        let is_newer = before.is_none_or(|image| image.manifest != Digest::of(&found.manifest));
        let loaded = crate::import::name(self.store, &workspace, &found).map_err(bad)?;
        Ok(Pulled {
            id: loaded.id,
            digest,
            is_newer,
        })
    }

    fn config(
        &self,
        workspace: &Workspace,
        digest: &Digest,
        size: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        if let Ok(config) = self.store.blobs.read(digest) {
            expect_size(digest, size, config.len() as u64)?;
            return Ok(config);
        }
        let config = self.client.json(digest, size)?;
        expect_size(digest, size, config.len() as u64)?;
        let path = workspace.path().join("config");
        let store = || {
            let mut file = File::create(&path)?;
            file.write_all(&config)?;
            file.sync_all()?;
            self.store.blobs.publish(&path, digest)
        };
        store().map_err(|err| RegistryError::Write(*digest, err))?;
        Ok(config)
    }

    fn layers(&self, workspace: &Workspace, image: &Found) -> Result<(), RegistryError> {
        let mut layers: Vec<&Layer> = Vec::new();
        for layer in &image.layers {
            // Empty layers stand in many images several times.
            if !layers
                .iter()
                .any(|other| other.digest == layer.digest && other.diff_id == layer.diff_id)
            {
                layers.push(layer);
            }
        }
        for layer in &layers {
            self.progress.step(&layer.digest, Step::Waiting);
        }
        in_threads(DOWNLOADS, layers, |layer| self.layer(workspace, layer)).map(drop)
    }

    fn layer(&self, workspace: &Workspace, layer: &Layer) -> Result<(), RegistryError> {
        let failed = |err| RegistryError::Write(layer.digest, err);
        let path = self.store.partial(&layer.digest);
        // Of two pulls, of this command or of two, the second waits here for what the first fetches.
        let file = loop {
            let file = lock_file(&path, FlockOperation::LockExclusive).map_err(failed)?;
            if self.store.blobs.contains(&layer.digest) {
                self.present(workspace, layer)?;
                if is_at(&file, &path) {
                    fs::remove_file(&path).map_err(failed)?;
                }
                self.progress.step(&layer.digest, Step::Exists);
                return Ok(());
            }
            // The first one has renamed or deleted the file, and yet the blob is not there.
            if is_at(&file, &path) {
                break file;
            }
        };
        let image = self.fetch(workspace, layer, &path)?;
        if let Some(image) = image {
            publish(&image, &self.store.layer_path(&layer.diff_id)).map_err(failed)?;
        }
        self.store
            .blobs
            .publish(&path, &layer.digest)
            .map_err(failed)?;
        drop(file);
        self.progress.step(&layer.digest, Step::Complete);
        Ok(())
    }

    /// The blob is in the store; its file system may have to be made.
    fn present(&self, workspace: &Workspace, layer: &Layer) -> Result<(), RegistryError> {
        let blob = self
            .store
            .blobs
            .open(&layer.digest)
            .map_err(crate::store::StoreError::from)?;
        let size = blob
            .metadata()
            .map_err(|err| RegistryError::Write(layer.digest, err))?
            .len();
        expect_size(&layer.digest, layer.size, size)?;
        if self.store.layer_path(&layer.diff_id).exists() {
            // That file system may have come of another blob.
            let verified = self.verified.get_or_init(|| self.store.verified());
            if !verified.contains(&(layer.digest, layer.diff_id)) {
                verify(layer.diff_id, blob, self.options.limits)?;
            }
            return Ok(());
        }
        let image = self.convert(workspace, layer, blob, &|| {})?;
        publish(&image, &self.store.layer_path(&layer.diff_id))
            .map_err(|err| RegistryError::Write(layer.diff_id, err))
    }

    /// Downloads into `file`, locked by us, and converts behind that. The file system is in the workspace.
    fn fetch(
        &self,
        workspace: &Workspace,
        layer: &Layer,
        path: &Path,
    ) -> Result<Option<std::path::PathBuf>, RegistryError> {
        let failed = |err| RegistryError::Write(layer.digest, err);
        let wanted = Wanted {
            digest: layer.digest,
            size: layer.size,
        };
        // A descriptor without O_APPEND, which would send every write to the end.
        let writable = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        let (hasher, done) = hash_partial(&writable, layer.size).map_err(failed)?;
        let is_known = self.store.layer_path(&layer.diff_id).exists();
        let growing = Growing::new(writable, done);
        let (downloaded, converted) = std::thread::scope(|scope| {
            let convert = || {
                let result = if is_known {
                    verify(layer.diff_id, growing.tail(), self.options.limits).map(|()| None)
                } else {
                    let abandon = || growing.refuse();
                    self.convert(workspace, layer, growing.tail(), &abandon)
                        .map(Some)
                };
                if result.is_err() {
                    growing.refuse();
                }
                result
            };
            let converter = scope.spawn(convert);
            let downloaded = download(self.client, wanted, &growing, (hasher, done), self.progress);
            growing.end(downloaded.is_ok());
            self.progress.step(&layer.digest, Step::Extracting);
            let converted = match converter.join() {
                Ok(converted) => converted,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            (downloaded, converted)
        });
        let result = match (downloaded, converted) {
            (Err(err), _) => Err(err),
            (Ok(()), Err(err)) => Err(err.into()),
            (Ok(()), Ok(image)) => Ok(image),
        };
        // What is not to be trusted is not to be gone on from.
        if !matches!(
            result,
            Ok(_) | Err(RegistryError::Broken { .. } | RegistryError::Request { .. })
        ) {
            fs::remove_file(path).map_err(failed)?;
        }
        let image = result?;
        growing.file().sync_all().map_err(failed)?;
        Ok(image)
    }

    fn convert(
        &self,
        workspace: &Workspace,
        layer: &Layer,
        blob: impl Read + Send,
        abandon: &dyn Fn(),
    ) -> Result<std::path::PathBuf, ConvertError> {
        let path = workspace
            .path()
            .join(format!("{}.erofs", layer.digest.hex()));
        let file = create(&path).map_err(crate::erofs::ImageError::Write)?;
        let file = convert_stream(layer.diff_id, blob, file, self.options.limits, abandon)?;
        file.sync_all().map_err(crate::erofs::ImageError::Write)?;
        Ok(path)
    }
}

/// What came has to be as long as the document says that speaks of it.
pub(super) fn expect_size(digest: &Digest, expected: u64, found: u64) -> Result<(), RegistryError> {
    if expected == found {
        return Ok(());
    }
    Err(RegistryError::Size {
        digest: *digest,
        expected,
        found,
    })
}

/// What an earlier pull has left of a blob.
fn hash_partial(file: &File, size: u64) -> io::Result<(Sha256, u64)> {
    let mut hasher = Sha256::new();
    if file.metadata()?.len() > size {
        file.set_len(0)?;
    }
    let mut buffer = vec![0; 256 << 10];
    let mut done = 0;
    loop {
        match std::os::unix::fs::FileExt::read_at(file, &mut buffer, done)? {
            0 => return Ok((hasher, done)),
            n => {
                hasher.update(&buffer[..n]);
                done += n as u64;
            }
        }
    }
}

/// Whether an open file still has the name under which it was opened.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: fs::Metadata, b: fs::Metadata| a.dev() == b.dev() && a.ino() == b.ino();
    file.metadata()
        .ok()
        .zip(fs::metadata(path).ok())
        .is_some_and(|(a, b)| same(a, b))
}
