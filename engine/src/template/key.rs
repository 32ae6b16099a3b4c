//! What a template depends on.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rvm_agent_protocol::{Create, Filter};
use rvm_images::Digest;
use rvm_vmm::config::HostKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::microvm::{Artifacts, CMDLINE};

/// The layout of what a template's guest has been brought to. Another one makes all templates of before useless.
const VERSION: u32 = 4;

/// A template's key: the digest of everything that shapes its guest. When one of these changes, another template is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

/// A key's bytes.
pub type Place = [u8; 32];

/// How far a template's guest has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The agent is ready. Nothing of the container is mounted.
    Ready,
    /// The container is made, and its process waits to be told who it is. It has a disk on which nothing has been written.
    Prepared,
    /// The process has become its command, and stands before its first instruction.
    Held,
}

/// Everything that shapes a guest that is ready. The processor is not in it: the VMM refuses a snapshot of another one.
#[derive(Debug, Serialize)]
pub struct Inputs {
    version: u32,
    host: HostKind,
    memory_mib: u64,
    vcpus: u8,
    network: Option<&'static str>,
    disk: Option<u64>,
    layers: usize,
    cmdline: &'static str,
    artifacts: Vec<FileId>,
}

/// What tells a version of a file from another without reading it.
#[derive(Debug, Serialize)]
struct FileId {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileId {
    fn new(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

fn artifact_ids(artifacts: &Artifacts) -> io::Result<Vec<FileId>> {
    [&artifacts.vmm, &artifacts.kernel, &artifacts.initramfs]
        .into_iter()
        .map(|path| Ok(FileId::new(path, &fs::metadata(path)?)))
        .collect()
}

/// What tells these versions of the VMM, the kernel and the agent from others.
pub fn artifacts_digest(artifacts: &Artifacts) -> io::Result<String> {
    Ok(Digest::of(&serde_json::to_vec(&artifact_ids(artifacts)?)?).hex())
}

impl Inputs {
    /// Takes down what shapes a guest that is made of these.
    pub fn new(
        host: HostKind,
        (memory_mib, vcpus): (u64, u8),
        network: Option<&'static str>,
        disk: Option<u64>,
        layers: usize,
        artifacts: &Artifacts,
    ) -> io::Result<Self> {
        Ok(Self {
            version: VERSION,
            host,
            memory_mib,
            vcpus,
            network,
            disk,
            layers,
            cmdline: CMDLINE,
            artifacts: artifact_ids(artifacts)?,
        })
    }

    /// The key of the guest that is ready, whatever container comes.
    pub fn ready(&self) -> io::Result<Key> {
        Key::of(&(Stage::Ready, self))
    }

    /// The key of the guest in which a container of this specification is prepared.
    pub fn prepared(&self, spec: &Spec, filter: &Filter, layers: &[File]) -> io::Result<Key> {
        let layer = |layer: &File| Ok(FileId::new(Path::new(""), &layer.metadata()?));
        let layers = layers.iter().map(layer).collect::<io::Result<Vec<_>>>()?;
        Key::of(&(Stage::Prepared, self, spec, filter, layers))
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Prepared => "prepared",
            Self::Held => "held",
        })
    }
}

impl Key {
    fn of(inputs: &impl Serialize) -> io::Result<Self> {
        Ok(Self(Digest::of(&serde_json::to_vec(inputs)?).hex()))
    }

    /// A key as the name of a template's folder has it.
    pub fn parse(text: &str) -> Option<Self> {
        Digest::from_hex(text).ok().map(|digest| Self(digest.hex()))
    }

    /// The key of the guest in which the process of `create` is held that waits in the guest of this key. `create` says nothing that
    /// [`Adopt`](rvm_agent_protocol::Adopt) replaces.
    pub fn held(&self, create: &Create) -> io::Result<Self> {
        let mut create = serde_json::to_value(create)?;
        // They are sets, which come in any order.
        let sets = create.pointer_mut("/process/capabilities");
        for set in sets.and_then(Value::as_object_mut).into_iter().flatten() {
            if let Value::Array(names) = set.1 {
                names.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            }
        }
        Self::of(&(Stage::Held, &self.0, create))
    }

    /// What stands for the key in a table of so many places, and at which byte its place begins.
    pub fn place(&self, places: u64) -> (Place, u64) {
        let mut bytes = Place::default();
        for (byte, digits) in bytes.iter_mut().zip(self.0.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
        }
        let index = u64::from_le_bytes(*bytes.first_chunk().unwrap_or(&[0; 8])) % places;
        (bytes, index * size_of::<Place>() as u64)
    }

    /// The key as text: 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
