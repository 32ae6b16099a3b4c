//! Makes an image of another one and a layer above it, as `docker commit` does.

use std::io::Read;

use serde_json::{Map, Value, json};

use crate::change::Change;
use crate::digest::Digest;
use crate::image::Image;
use crate::layer::Limits;
use crate::load::{Found, LoadError, Loaded};
use crate::reference::Reference;
use crate::store::{Store, StoreError};
use crate::tarball::{ImportError, New, new_layer};

/// What a committed image is to be.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Its name, if it is to have one.
    pub reference: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// What `rvm history` shows as the layer's comment.
    pub message: String,
    /// The command that made the layer.
    pub created_by: String,
    /// What replaces the members of that name in the image's `config` object; null takes one away.
    pub config: Map<String, Value>,
    /// Changes after that.
    pub changes: Vec<Change>,
    /// How much the layer may unpack to.
    pub limits: Limits,
}

/// Docker's media types, which are not mixed with those of OCI in one manifest.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

impl Store {
    /// Makes an image of `base` and a layer, which is read to its end.
    pub fn commit(
        &self,
        base: &Image,
        layer: impl Read + Send,
        options: &CommitOptions,
    ) -> Result<Loaded, ImportError> {
        let read = |digest: &Digest| -> Result<Map<String, Value>, ImportError> {
            let bytes = self.blobs.read(digest).map_err(StoreError::from)?;
            serde_json::from_slice(&bytes).map_err(|_| LoadError::NotAnImage.into())
        };
        let mut config = read(&base.id)?;
        let mut manifest = read(&base.manifest)?;
        let _hold = self.hold()?;
        let workspace = self.workspace()?;
        let new = new_layer(&workspace, layer, options.limits)?;
        configure(&mut config, &new, options)?;
        let config = Value::Object(config).to_string().into_bytes();
        let id = Digest::of(&config);
        extend(&mut manifest, &new, &id, config.len())?;
        let mut layers = base.layers.clone();
        layers.push(new.layer.clone());
        let found = Found {
            manifest: Value::Object(manifest).to_string().into_bytes(),
            config: (id, config.len() as u64),
            layers,
            references: options.reference.iter().cloned().collect(),
            digest: None,
        };
        self.admit(&workspace, &new.layer, &id, &config)?;
        Ok(crate::import::name(self, &workspace, &found)?)
    }
}

/// The manifest's new configuration and its further layer.
fn extend(
    manifest: &mut Map<String, Value>,
    new: &New,
    id: &Digest,
    size: usize,
) -> Result<(), LoadError> {
    let docker = manifest.get("mediaType").and_then(Value::as_str) == Some(DOCKER_MANIFEST);
    let media_type = match docker {
        true => DOCKER_LAYER.to_owned(),
        false => new.media_type.to_string(),
    };
    let config = member(manifest, "config")?
        .as_object_mut()
        .ok_or(LoadError::NotAnImage)?;
    config.insert("digest".to_owned(), id.to_string().into());
    config.insert("size".to_owned(), size.into());
    // It was the base's own.
    config.remove("data");
    config.remove("annotations");
    let layers = member(manifest, "layers")?
        .as_array_mut()
        .ok_or(LoadError::NotAnImage)?;
    layers.push(json!({
        "mediaType": media_type,
        "digest": new.layer.digest,
        "size": new.layer.size,
    }));
    manifest.remove("annotations");
    Ok(())
}

fn configure(
    document: &mut Map<String, Value>,
    new: &New,
    options: &CommitOptions,
) -> Result<(), ImportError> {
    let now = jiff::Timestamp::now().to_string();
    let config = document
        .entry("config")
        .or_insert_with(|| Value::Object(Map::new()));
    if config.is_null() {
        *config = Value::Object(Map::new());
    }
    let config = config.as_object_mut().ok_or(LoadError::NotAnImage)?;
    for (name, value) in &options.config {
        match value {
            Value::Null => drop(config.remove(name)),
            value => drop(config.insert(name.clone(), value.clone())),
        }
    }
    for change in &options.changes {
        change.apply(config)?;
    }
    let rootfs = member(document, "rootfs")?;
    rootfs
        .get_mut("diff_ids")
        .and_then(Value::as_array_mut)
        .ok_or(LoadError::NotAnImage)?
        .push(json!(new.layer.diff_id));
    let history = document
        .entry("history")
        .or_insert_with(|| Value::Array(Vec::new()));
    let mut entry = json!({"created": now, "created_by": options.created_by});
    for (name, text) in [("author", &options.author), ("comment", &options.message)] {
        if !text.is_empty() {
            entry[name] = text.clone().into();
        }
    }
    history
        .as_array_mut()
        .ok_or(LoadError::NotAnImage)?
        .push(entry);
    document.insert("created".to_owned(), now.into());
    match options.author.as_str() {
        "" => drop(document.remove("author")),
        author => drop(document.insert("author".to_owned(), author.into())),
    }
    // What Docker once noted of the container that the base was made from.
    document.remove("container");
    document.remove("container_config");
    Ok(())
}

fn member<'a>(object: &'a mut Map<String, Value>, name: &str) -> Result<&'a mut Value, LoadError> {
    object.get_mut(name).ok_or(LoadError::NotAnImage)
}
