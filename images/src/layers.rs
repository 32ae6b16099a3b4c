//! Layers as file systems: one EROFS image a layer, made once, and shared by all that have the layer.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use rustix::fs::{FlockOperation, flock};

use crate::blobs::BlobError;
use crate::convert::{ConvertError, convert, convert_stream, verify};
use crate::digest::Digest;
use crate::directories::{self, Correction};
use crate::erofs::ImageWriter;
use crate::image::{Image, Layer, chain_id, correction_id};
use crate::layer::Limits;
use crate::progress::{Progress, Step};
use crate::store::{Store, StoreError};
use crate::workspace::{Workspace, publish};

/// Conversions at once: inflating and hashing keep a core busy each.
const THREADS: usize = 2;

/// A read-only file system to be mounted as a lower directory.
#[derive(Debug)]
pub struct LayerImage {
    /// Where the store has it. A multiple of 2 MiB long, so that virtio-pmem can map it.
    pub path: PathBuf,
    /// It, opened for reading: as long as that is open, the image stays, whatever is removed.
    pub file: File,
}

/// Why an image's layers cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum LayerImageError {
    /// A layer does not become a file system.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The layer's blob cannot be had.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The image has no layer at all.
    #[error("the image {0} has no layers: there is nothing to run in it")]
    Empty(Digest),
}

/// A layer to be converted, and where its blob, of which the digest was verified, is.
pub(crate) struct Source {
    pub(crate) diff_id: Digest,
    pub(crate) digest: Digest,
    pub(crate) blob: PathBuf,
}

/// What a stack of file systems needs, so that overlayfs makes the right tree of it.
enum Corrected {
    /// Nothing.
    Right,
    /// This file system on top.
    OnTop(LayerImage),
    /// All but so many of the uppermost merged into one.
    Merged(usize),
}

impl Store {
    /// The file systems that make up an image, uppermost first, at most `max` (and at least one) of them.
    ///
    /// What is not there yet is made. If the image has more layers than `max`, the lowest are applied to
    /// one another in a single file system, known by their ChainID. Where layers have something in directories
    /// that they do not list, a small file system on top gives these the attributes that they have below; where
    /// such a directory is a symbolic link below, these layers are merged.
    pub fn layer_images(
        &self,
        image: &Image,
        max: usize,
    ) -> Result<Vec<LayerImage>, LayerImageError> {
        let _hold = self.hold()?;
        let mut stack = self.stack(image, max)?;
        match (self.correction(image, &stack)?, max.max(1)) {
            (Corrected::Right, _) => {}
            (Corrected::Merged(above), _) => return self.layer_images(image, above + 1),
            (Corrected::OnTop(correction), max) if stack.len() < max => {
                stack.insert(0, correction);
            }
            // Nothing can be wrong in a single one but whiteouts that show.
            (Corrected::OnTop(_), 1) => {}
            (Corrected::OnTop(_), max) => return self.layer_images(image, max - 1),
        }
        Ok(stack)
    }

    /// The layers themselves, the lowest merged.
    fn stack(&self, image: &Image, max: usize) -> Result<Vec<LayerImage>, LayerImageError> {
        let merged = image.layers.len().saturating_sub(max.max(1)) + 1;
        let (base, separate) = image.layers.split_at(merged.min(image.layers.len()));
        let base_id = chain_id(base).ok_or(LayerImageError::Empty(image.id))?;
        let mut wanted: Vec<(Digest, &[Layer])> = vec![(base_id, base)];
        wanted.extend(
            separate
                .iter()
                .map(|layer| (layer.diff_id, std::slice::from_ref(layer))),
        );

        let mut images: Vec<Option<LayerImage>> = wanted
            .iter()
            .map(|(id, _)| self.open_layer(id).ok())
            .collect();
        let missing: Vec<usize> = (0..wanted.len()).filter(|&i| images[i].is_none()).collect();
        if !missing.is_empty() {
            let workspace = self.workspace()?;
            let made = in_parallel(missing, |i| {
                let (id, layers) = wanted[i];
                Ok::<_, LayerImageError>((i, self.make_layer(&workspace, &id, layers)?))
            })?;
            for (i, image) in made {
                images[i] = Some(image);
            }
        }
        Ok(images.into_iter().rev().flatten().collect())
    }

    /// What `stack` needs; found out once and kept: the file system to be put on top, or a
    /// short text, empty when the stack is right as it is.
    fn correction(
        &self,
        image: &Image,
        stack: &[LayerImage],
    ) -> Result<Corrected, LayerImageError> {
        let id =
            correction_id(&image.layers, stack.len()).ok_or(LayerImageError::Empty(image.id))?;
        if let Ok(layer) = self.open_layer(&id) {
            return Ok(Corrected::OnTop(layer));
        }
        let note = self.note_path(&id);
        if let Ok(text) = fs::read_to_string(&note) {
            return Ok(text.parse().map_or(Corrected::Right, Corrected::Merged));
        }
        let path = self.layer_path(&id);
        let failed = |source| self.io(&path, source);
        let files: Vec<&File> = stack.iter().map(|layer| &layer.file).collect();
        let correction = directories::correction(&files).map_err(failed)?;
        let workspace = self.workspace()?;
        let new = workspace.path().join("correction");
        let mut file = create(&new).map_err(failed)?;
        let text = match correction {
            Correction::Needless => String::new(),
            Correction::Merge(above) => above.to_string(),
            Correction::Directories(tree) => {
                let mut uuid = [0; 16];
                uuid.copy_from_slice(&id.as_bytes()[..16]);
                let writer = ImageWriter::new(file).map_err(ConvertError::from)?;
                file = writer.finish(&tree, uuid).map_err(ConvertError::from)?;
                file.sync_all()
                    .and_then(|()| publish(&new, &path))
                    .map_err(failed)?;
                return Ok(Corrected::OnTop(LayerImage { path, file }));
            }
        };
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| publish(&new, &note))
            .map_err(failed)?;
        Ok(text.parse().map_or(Corrected::Right, Corrected::Merged))
    }

    /// What is noted of a stack that needs no file system on top.
    pub(crate) fn note_path(&self, id: &Digest) -> PathBuf {
        self.layers_folder().join(format!("{}.note", id.hex()))
    }

    /// The blobs and DiffIDs that images here have for one another: each was seen to unpack to the other.
    pub(crate) fn verified(&self) -> HashSet<(Digest, Digest)> {
        let entries = self.index.read().unwrap_or_default();
        let images = entries
            .iter()
            .filter_map(|entry| self.image(&entry.manifest, None).ok());
        images
            .flat_map(|image| image.layers)
            .map(|layer| (layer.digest, layer.diff_id))
            .collect()
    }

    pub(crate) fn layer_path(&self, id: &Digest) -> PathBuf {
        self.layers_folder().join(format!("{}.erofs", id.hex()))
    }

    fn open_layer(&self, id: &Digest) -> io::Result<LayerImage> {
        let path = self.layer_path(id);
        let file = File::open(&path)?;
        Ok(LayerImage { path, file })
    }

    fn make_layer(
        &self,
        workspace: &Workspace,
        id: &Digest,
        layers: &[Layer],
    ) -> Result<LayerImage, LayerImageError> {
        let blobs: Vec<(Digest, File)> = layers
            .iter()
            .map(|layer| Ok((layer.diff_id, self.blobs.open(&layer.digest)?)))
            .collect::<Result<_, BlobError>>()?;
        // Two commands that need the same layer make it once: the second waits for the first here.
        if let Some((_, blob)) = blobs.last() {
            flock(blob, FlockOperation::LockExclusive)
                .map_err(|err| self.io(&self.layers_folder(), err.into()))?;
        }
        if let Ok(image) = self.open_layer(id) {
            return Ok(image);
        }
        let path = write_image(workspace, id, &blobs, Limits::default())?;
        let to = self.layer_path(id);
        publish(&path, &to).map_err(|source| self.io(&to, source))?;
        Ok(self.open_layer(id).map_err(|source| self.io(&to, source))?)
    }
}

/// Converts what the store does not have into the workspace; returns each image's place there and in the
/// store.
///
/// Every source is seen to unpack to its DiffID, now or when another image brought it: a file system that is
/// there already says nothing of this blob.
pub(crate) fn convert_missing(
    store: &Store,
    workspace: &Workspace,
    sources: &[Source],
    limits: Limits,
    progress: &dyn Progress,
) -> Result<Vec<(PathBuf, PathBuf)>, ConvertError> {
    let verified = store.verified();
    let mut converted = HashSet::new();
    let mut work = Vec::new();
    for source in sources {
        let exists = store.layer_path(&source.diff_id).exists();
        if !exists || !verified.contains(&(source.digest, source.diff_id)) {
            progress.step(&source.digest, Step::Waiting);
            work.push((source, !exists && converted.insert(source.diff_id)));
        }
    }
    let made = in_parallel(work, |(source, is_missing)| {
        let diff_id = source.diff_id;
        let open = || {
            let file = File::open(&source.blob)?;
            let total = file.metadata()?.len();
            Ok(Shown {
                digest: source.digest,
                done: 0,
                total,
                file,
                progress,
            })
        };
        let blob = open().map_err(|source| ConvertError::Blob { diff_id, source })?;
        let made = if is_missing {
            let path = workspace.path().join(format!("{}.erofs", diff_id.hex()));
            let file = create(&path).map_err(crate::erofs::ImageError::Write)?;
            let file = convert_stream(diff_id, blob, file, limits, &|| {})?;
            file.sync_all().map_err(crate::erofs::ImageError::Write)?;
            Some((path, store.layer_path(&diff_id)))
        } else {
            verify(diff_id, blob, limits)?;
            None
        };
        progress.step(&source.digest, Step::Complete);
        Ok::<_, ConvertError>(made)
    })?;
    Ok(made.into_iter().flatten().collect())
}

/// A blob that is read while somebody watches.
struct Shown<'a> {
    digest: Digest,
    file: File,
    done: u64,
    total: u64,
    progress: &'a dyn Progress,
}

impl Read for Shown<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.done += n as u64;
        let step = Step::Moved {
            done: self.done.min(self.total),
            total: self.total,
        };
        self.progress.step(&self.digest, step);
        Ok(n)
    }
}

fn write_image(
    workspace: &Workspace,
    id: &Digest,
    blobs: &[(Digest, File)],
    limits: Limits,
) -> Result<PathBuf, ConvertError> {
    let path = workspace.path().join(format!("{}.erofs", id.hex()));
    let file = create(&path).map_err(crate::erofs::ImageError::Write)?;
    let file = convert(blobs, file, limits, id)?;
    file.sync_all().map_err(crate::erofs::ImageError::Write)?;
    Ok(path)
}

pub(crate) fn create(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
}

/// Does all of `work` on a few threads; the first error ends it.
fn in_parallel<T: Send, R: Send, E: Send>(
    work: Vec<T>,
    each: impl Fn(T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    in_threads(THREADS, work, each)
}

/// The same on at most `threads` threads.
pub(crate) fn in_threads<T: Send, R: Send, E: Send>(
    threads: usize,
    work: Vec<T>,
    each: impl Fn(T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let threads = threads.min(work.len());
    let queue = Mutex::new(VecDeque::from(work));
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop_front());
    let run = || {
        let mut done = Vec::new();
        while let Some(item) = next() {
            match each(item) {
                Ok(result) => done.push(result),
                Err(err) => {
                    // The other threads finish what they are at and find nothing more.
                    if let Ok(mut queue) = queue.lock() {
                        queue.clear();
                    }
                    return Err(err);
                }
            }
        }
        Ok(done)
    };
    if threads <= 1 {
        return run();
    }
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let mut all = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(results) => all.extend(results?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}
