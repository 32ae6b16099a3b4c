//! Templates: guests that were saved once they had booted and made everything that a container needs, to be gone on from by every
//! further container of their kind. A clone maps the saved memory and has copies only of the pages that it writes to.

mod key;

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;
use rvm_agent_protocol::Network;
use serde::{Deserialize, Serialize};

use key::Place;
pub use key::{Inputs, Key, Stage, artifacts_digest};

use crate::microvm::{ControlError, MicroVm};
use crate::root::Root;
use crate::snapshot::{STATE, SaveError, Snapshot, Snapshots};

/// What all templates may take on the disk, in bytes; the least recently used ones go when they take more.
pub const LIMIT: u64 = 4 << 30;

const ABOUT: &str = "template.json";
/// The file that says for which keys a container has run: each key has a place, and the last one of those that share it is there.
const WANTED: &str = "wanted";
/// How many places there are.
const WANTED_PLACES: u64 = 1024;

/// Why a template could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A file or folder of it.
    #[error("cannot use the folder of templates {folder}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The VMM could not save the guest.
    #[error("the guest could not be saved as a template")]
    Save(#[from] ControlError),
    /// There is no such template.
    #[error("No such template: {0}")]
    Missing(String),
    /// The beginning of an id fits several.
    #[error("{0} is the beginning of several templates' ids: give more of it")]
    Ambiguous(String),
}

/// The templates of a root folder.
#[derive(Clone, Debug)]
pub struct Templates(Snapshots);

/// What is told of a template.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// The image as the user named it who had the template made.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// The guest's memory in MiB.
    pub memory_mib: u64,
    /// Its processors.
    pub vcpus: u8,
    /// When it was made.
    pub created: Timestamp,
    /// How far it has come.
    pub stage: Stage,
    /// What its guest's interface has been set to.
    pub network: Option<Network>,
}

/// A template in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// What is told of it.
    pub about: About,
    /// What it takes on the disk, in bytes.
    pub size: u64,
    /// When it was last used.
    pub used: Timestamp,
}

impl Templates {
    /// Those below `root`.
    pub fn of(root: &Root) -> Self {
        Self(Snapshots::of(root.templates(), ABOUT))
    }

    /// Opens a template, if there is one; what is told of it.
    pub fn find(&self, key: &Key) -> Option<(Snapshot, About)> {
        let template = self.0.open(key.as_str()).ok()?;
        let about = self.0.about(key.as_str()).ok()?;
        // For the choice of what goes first; nothing else depends on it.
        let now = FileTimes::new().set_modified(SystemTime::now());
        let _ = template.state.set_times(now);
        Some((template, about))
    }

    /// Saves the guest of `vm`, which has mounted `disk`, as the template for `key`, unless someone else was quicker. The guest stands still
    /// meanwhile.
    pub fn make(
        &self,
        key: &Key,
        about: &About,
        vm: &MicroVm,
        disk: Option<&File>,
    ) -> Result<(), TemplateError> {
        if self.0.path(key.as_str()).exists() {
            return Ok(());
        }
        let controller = vm.controller().map_err(|error| self.failed(error))?;
        let made = self
            .0
            .make(key.as_str(), about, (&controller, vm.pid()), disk);
        match made {
            Ok(()) => {}
            Err(SaveError::File(e)) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(SaveError::File(e)) => return Err(self.failed(e)),
            Err(SaveError::Vmm(e)) => return Err(e.into()),
        }
        self.make_room(LIMIT, Some(key)).map(drop)
    }

    /// Whether a container of this key has run before. A command that is run once is not worth a template of its own.
    pub fn was_wanted(&self, key: &Key) -> bool {
        let read = || -> io::Result<Place> {
            let mut there = Place::default();
            let (_, offset) = key.place(WANTED_PLACES);
            File::open(self.0.path(WANTED))?.read_exact_at(&mut there, offset)?;
            Ok(there)
        };
        read().is_ok_and(|there| there == key.place(WANTED_PLACES).0)
    }

    /// Notes that a container of this key runs.
    pub fn note_wanted(&self, key: &Key) {
        let (place, offset) = key.place(WANTED_PLACES);
        let write = || -> io::Result<()> {
            let path = self.0.path(WANTED);
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            file.set_len(WANTED_PLACES * size_of::<Place>() as u64)?;
            file.write_all_at(&place, offset)
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "it could not be noted that a template is wanted");
        }
    }

    fn failed(&self, source: io::Error) -> TemplateError {
        TemplateError::Folder {
            folder: self.0.folder().to_owned(),
            source,
        }
    }

    /// All templates, the last used first.
    pub fn list(&self) -> Result<Vec<Listed>, TemplateError> {
        let failed = |source| self.failed(source);
        let entries = match fs::read_dir(self.0.folder()) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut list = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // Others may remove one meanwhile.
            if let Some(key) = entry.file_name().to_str().and_then(Key::parse)
                && let Ok(listed) = self.listed(key)
            {
                list.push(listed);
            }
        }
        list.sort_by_key(|listed| std::cmp::Reverse(listed.used));
        Ok(list)
    }

    /// The template whose id begins with `text`.
    pub fn resolve(&self, text: &str) -> Result<Listed, TemplateError> {
        let mut found = self.list()?;
        found.retain(|listed| !text.is_empty() && listed.key.as_str().starts_with(text));
        match found.len() {
            0 => Err(TemplateError::Missing(text.to_owned())),
            1 => Ok(found.remove(0)),
            _ => Err(TemplateError::Ambiguous(text.to_owned())),
        }
    }

    /// Removes a template. Guests that go on from it keep what they have mapped.
    pub fn remove(&self, key: &Key) -> Result<(), TemplateError> {
        match self.0.remove(key.as_str()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.failed(e)),
            _ => Ok(()),
        }
    }

    /// Removes the least recently used templates until the rest takes no more than `limit` bytes; never `kept`. Those that went.
    pub fn make_room(&self, limit: u64, kept: Option<&Key>) -> Result<Vec<Listed>, TemplateError> {
        let mut taken = 0;
        let mut gone = Vec::new();
        for listed in self.list()? {
            taken += listed.size;
            if taken > limit && Some(&listed.key) != kept {
                self.remove(&listed.key)?;
                taken -= listed.size;
                gone.push(listed);
            }
        }
        Ok(gone)
    }

    fn listed(&self, key: Key) -> io::Result<Listed> {
        let name = key.as_str();
        let about = self.0.about(name)?;
        let size = self.0.size(name)?;
        let state = fs::metadata(self.0.path(name).join(STATE))?;
        let used = Timestamp::try_from(state.modified()?).map_err(io::Error::other)?;
        Ok(Listed {
            key,
            about,
            size,
            used,
        })
    }
}
