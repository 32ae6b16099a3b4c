//! Brings images that were found into the store: layers first, names last.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::blobs::spool;
use crate::digest::Digest;
use crate::index::{set_digest, set_name};
use crate::layers::{self, Source};
use crate::load::{Found, LoadError, LoadOptions, Loaded, Members, find};
use crate::progress::Progress;
use crate::store::{Store, StoreError};
use crate::workspace::{Workspace, publish, sync_parent};

/// Loads a folder or an archive file.
pub(crate) fn from_path(
    store: &Store,
    path: &Path,
    options: &LoadOptions,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, LoadError> {
    let source = |source| LoadError::Open {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(source)?.is_dir() {
        let (workspace, _hold) = begin(store)?;
        let members = Members::from_folder(path, workspace.path())?;
        return finish(store, &workspace, members, options, progress);
    }
    from_archive(store, File::open(path).map_err(source)?, options, progress)
}

/// Loads an archive from a stream.
pub(crate) fn from_archive(
    store: &Store,
    archive: impl Read + Send,
    options: &LoadOptions,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, LoadError> {
    let (workspace, _hold) = begin(store)?;
    let members = Members::from_archive(archive, workspace.path(), options.limits.bytes)?;
    finish(store, &workspace, members, options, progress)
}

fn begin(store: &Store) -> Result<(Workspace, File), LoadError> {
    let hold = store.hold().map_err(store_error)?;
    Ok((store.workspace().map_err(store_error)?, hold))
}

fn finish(
    store: &Store,
    workspace: &Workspace,
    mut members: Members,
    options: &LoadOptions,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, LoadError> {
    let mut images = find(&mut members)?;
    if let Some(name) = &options.name {
        if images.len() != 1 {
            return Err(LoadError::SeveralImages(images.len()));
        }
        images[0].references = vec![name.clone()];
    }
    let mut blobs = Vec::new();
    let mut sources: Vec<Source> = Vec::new();
    for image in &images {
        blobs.push(members.blob(&image.config.0, image.config.1)?);
        for layer in &image.layers {
            let blob = members.blob(&layer.digest, layer.size)?;
            let is_same =
                |source: &Source| source.diff_id == layer.diff_id && source.digest == layer.digest;
            if !sources.iter().any(is_same) {
                sources.push(Source {
                    diff_id: layer.diff_id,
                    digest: layer.digest,
                    blob: blob.path.clone(),
                });
            }
            blobs.push(blob);
        }
    }
    // Every layer is unpacked before anything becomes visible: that verifies its DiffID.
    let converted = layers::convert_missing(store, workspace, &sources, options.limits, progress)?;

    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::Store { path, source }
    };
    for blob in blobs {
        if !store.blobs.contains(&blob.digest) && blob.path.exists() {
            File::open(&blob.path)
                .and_then(|file| file.sync_all())
                .map_err(failed(&blob.path))?;
            store
                .blobs
                .publish(&blob.path, &blob.digest)
                .map_err(failed(&blob.path))?;
        }
    }
    for (from, to) in converted {
        publish(&from, &to).map_err(failed(&to))?;
    }
    images
        .iter()
        .map(|image| name(store, workspace, image))
        .collect()
}

/// Stores the manifest and makes the image known.
pub(crate) fn name(
    store: &Store,
    workspace: &Workspace,
    image: &Found,
) -> Result<Loaded, LoadError> {
    let digest = Digest::of(&image.manifest);
    let size = image.manifest.len() as u64;
    let path = workspace.path().join("manifest");
    let failed = |source| LoadError::Store {
        path: path.clone(),
        source,
    };
    if !store.blobs.contains(&digest) {
        spool(&mut &image.manifest[..], &path).map_err(failed)?;
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(failed)?;
        store.blobs.publish(&path, &digest).map_err(failed)?;
        sync_parent(&store.blobs.path(&digest)).map_err(failed)?;
    }
    store.index.update(workspace, |entries| {
        if image.references.is_empty() {
            set_name(entries, digest, size, None);
        }
        for reference in &image.references {
            set_name(entries, digest, size, Some(reference.clone()));
            if let Some(known) = image.digest {
                set_digest(entries, reference, known);
            }
        }
    })?;
    Ok(Loaded {
        id: image.config.0,
        references: image.references.clone(),
    })
}

fn store_error(err: StoreError) -> LoadError {
    match err {
        StoreError::Io { path, source } => LoadError::Store { path, source },
        StoreError::Index(err) => LoadError::Index(err),
        other => LoadError::Store {
            path: "images".into(),
            source: std::io::Error::other(other),
        },
    }
}
