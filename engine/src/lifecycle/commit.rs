//! Making an image of what a container has changed.

use oci_spec::image::Config;
use rvm_agent_protocol::ArchiveAction;
use rvm_images::{Change, CommitOptions, ImportError, Reference, StoreError};
use serde_json::{Map, Value, json};

use super::changes::left_out;
use super::{ArchiveError, Engine};
use crate::container::{Container, Settings, State};
use crate::image::{ImageError, Images};
use crate::rootless;

/// An image that is asked for.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// Its name, if it is to have one.
    pub reference: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// What it is about.
    pub message: String,
    /// Changes to its configuration.
    pub changes: Vec<Change>,
    /// Stop the container's processes meanwhile.
    pub freeze: bool,
}

/// Why no image was made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The container's image, or the store.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The layer.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The container's files.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Image(error.into())
    }
}

impl Engine {
    /// Makes an image of a container's image and a layer of what the container has changed; its id.
    pub fn commit(
        &self,
        container: &Container,
        request: CommitRequest,
    ) -> Result<String, CommitError> {
        let settings = &container.settings;
        let images = Images::open(&self.root)?;
        let base = images.resolve(&settings.image_id)?;
        let options = CommitOptions {
            reference: request.reference,
            author: request.author,
            message: request.message,
            created_by: settings.args.join(" "),
            config: config(settings, base.config.config().as_ref()),
            changes: request.changes,
            limits: rvm_images::Limits::default(),
        };
        let mut layer = self.transfer(
            container,
            ArchiveAction::Layer {
                leave_out: left_out(settings),
                freeze: request.freeze
                    && container.state == State::Running
                    && !rootless::applies_to(settings),
            },
        )?;
        let made = images.store().commit(&base, &mut layer, &options)?;
        // The archive's own end is behind what was read of it.
        std::io::copy(&mut layer, &mut std::io::sink()).map_err(ArchiveError::Stream)?;
        layer.finish()?;
        Ok(made.id.to_string())
    }
}

/// The container's settings, where they are other than its image's.
fn config(settings: &Settings, image: Option<&Config>) -> Map<String, Value> {
    let mut config = Map::new();
    let mut set = |name: &str, value: Value| drop(config.insert(name.to_owned(), value));
    // Of each run's own making.
    let own = |variable: &&String| {
        !variable.starts_with("HOSTNAME=") && variable.as_str() != "TERM=xterm"
    };
    set(
        "Env",
        json!(settings.env.iter().filter(own).collect::<Vec<_>>()),
    );
    let entrypoint = settings.entrypoint.len().min(settings.args.len());
    let (entrypoint, command) = settings.args.split_at(entrypoint);
    let list = |words: &[String]| match words {
        [] => Value::Null,
        words => json!(words),
    };
    set("Entrypoint", list(entrypoint));
    set("Cmd", list(command));
    set("WorkingDir", json!(settings.working_dir));
    set("User", json!(settings.user));
    if !settings.labels.is_empty() {
        set("Labels", json!(settings.labels));
    }
    let named = image.and_then(|image| image.stop_signal().clone());
    if named.is_none_or(|signal| signal.parse().ok() != Some(settings.stop_signal))
        && settings.stop_signal != crate::options::signal::Signal::TERM
    {
        set("StopSignal", json!(settings.stop_signal.to_string()));
    }
    config
}
