//! Checkpoints: a container as it ran at one moment, saved to be gone on from later. They lie in the container's folder and go with it.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::microvm::{Artifacts, ControlError, Controller};
use crate::name::Name;
use crate::network::Endpoint;
use crate::root::ContainerFolder;
use crate::snapshot::{SaveError, Snapshot, Snapshots};
use crate::template::artifacts_digest;

const ABOUT: &str = "checkpoint.json";

/// Why a checkpoint could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The name is taken.
    #[error("checkpoint with name {0} already exists for container {1}")]
    Exists(Name, String),
    /// It has no microVM that could be saved.
    #[error(
        "container {0} has no microVM (--isolation container), and only a microVM can be saved"
    )]
    NoMicroVm(String),
    /// There is none of that name.
    #[error("checkpoint {0} does not exist for container {1}")]
    Missing(Name, String),
    /// A file or folder of it.
    #[error("cannot use the container's checkpoints in {folder}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its guest has another kernel or agent in it, or was saved by another VMM.
    #[error(
        "checkpoint {0} was made with another version of rvm-vmm, its kernel or its agent: remove it and make it anew"
    )]
    Version(Name),
    /// The VMM could not save the guest.
    #[error("the guest could not be saved")]
    Save(#[from] ControlError),
}

/// What a checkpoint's guest needs when it goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// The digest that tells the VMM, the kernel and the agent from others.
    pub artifacts: String,
    /// The guest's memory in MiB.
    pub memory_mib: u64,
    /// Its processors.
    pub vcpus: u8,
    /// What it had in its network.
    pub endpoint: Option<Endpoint>,
}

/// The checkpoints of a container.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    snapshots: Snapshots,
    container: String,
}

/// A checkpoint, opened.
#[derive(Debug)]
pub struct Checkpoint {
    /// What its guest needs.
    pub about: About,
    /// Its guest.
    pub snapshot: Snapshot,
}

impl Checkpoints {
    /// Those of the container of this folder, which messages call `container`.
    pub fn of(folder: &ContainerFolder, container: impl ToString) -> Self {
        Self {
            snapshots: Snapshots::of(folder.checkpoints(), ABOUT),
            container: container.to_string(),
        }
    }

    /// Saves the guest of the VMM `pid`, and the disk that it has mounted. The guest stands still meanwhile.
    pub fn make(
        &self,
        name: &Name,
        about: &About,
        vmm: (&Controller, u32),
        disk: Option<&File>,
    ) -> Result<(), CheckpointError> {
        self.check_free(name)?;
        let made = self.snapshots.make(name.as_str(), about, vmm, disk);
        made.map_err(|error| match error {
            SaveError::File(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => self.exists(name),
            SaveError::File(e) => self.failed(e),
            SaveError::Vmm(e) => e.into(),
        })
    }

    /// Refuses a name that is taken.
    pub fn check_free(&self, name: &Name) -> Result<(), CheckpointError> {
        match self.snapshots.path(name.as_str()).exists() {
            true => Err(self.exists(name)),
            false => Ok(()),
        }
    }

    /// Opens a checkpoint for a guest of these files.
    pub fn open(&self, name: &Name, artifacts: &Artifacts) -> Result<Checkpoint, CheckpointError> {
        let missing = |error| self.missing_or_failed(name, error);
        let about: About = self.snapshots.about(name.as_str()).map_err(missing)?;
        let artifacts = artifacts_digest(artifacts).map_err(|error| self.failed(error))?;
        if about.artifacts != artifacts {
            return Err(CheckpointError::Version(name.clone()));
        }
        let snapshot = self.snapshots.open(name.as_str()).map_err(missing)?;
        Ok(Checkpoint { about, snapshot })
    }

    /// The names of all checkpoints, in order.
    pub fn list(&self) -> Result<Vec<Name>, CheckpointError> {
        let entries = match fs::read_dir(self.snapshots.folder()) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.failed(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| self.failed(error))?.file_name();
            // What is unfinished has no name that a checkpoint could have.
            names.extend(name.to_str().and_then(|name| name.parse::<Name>().ok()));
        }
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(names)
    }

    /// Removes a checkpoint. A container that goes on from it keeps what it has mapped.
    pub fn remove(&self, name: &Name) -> Result<(), CheckpointError> {
        let removed = self.snapshots.remove(name.as_str());
        removed.map_err(|error| self.missing_or_failed(name, error))
    }

    fn exists(&self, name: &Name) -> CheckpointError {
        CheckpointError::Exists(name.clone(), self.container.clone())
    }

    fn missing_or_failed(&self, name: &Name, error: io::Error) -> CheckpointError {
        match error.kind() {
            io::ErrorKind::NotFound => {
                CheckpointError::Missing(name.clone(), self.container.clone())
            }
            _ => self.failed(error),
        }
    }

    fn failed(&self, source: io::Error) -> CheckpointError {
        CheckpointError::Folder {
            folder: self.snapshots.folder().to_owned(),
            source,
        }
    }
}
