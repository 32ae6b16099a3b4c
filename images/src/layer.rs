//! Turns the tar stream of one layer into a tree: names are judged here, whiteouts understood, data stored.
//!
//! Follows the image specification's layer.md and, where that is silent, umoci. Nothing is made on the host:
//! a name that means harm has nothing to reach.

use std::io::Read;

use crate::erofs::Xattrs;
use crate::erofs::{
    Directory, ImageError, ImageWriter, Kind, Meta, Node, NodeId, Tree, device_number,
};
use crate::tar::{Entry, EntryKind, TarError, TarReader};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own files carry this; they never belong to an image.
const AUFS: &[u8] = b".wh..wh.";
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4096;

/// Set another limit for bytes and for entries.
const BYTES: &str = "RVM_LAYER_BYTES";
const ENTRIES: &str = "RVM_LAYER_ENTRIES";

/// How much a layer may hold before it counts as an attack.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files together, holes included.
    pub bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of all names, links and extended attributes together: these are kept in memory.
    pub metadata: u64,
}

impl Default for Limits {
    /// 64 GiB in two million entries, several times what the largest images in use have, or what the environment
    /// says (`RVM_LAYER_BYTES`, `RVM_LAYER_ENTRIES`).
    fn default() -> Self {
        Self {
            bytes: setting(BYTES, 64 << 30),
            entries: setting(ENTRIES, 2_000_000),
            metadata: 256 << 20,
        }
    }
}

fn setting(variable: &str, default: u64) -> u64 {
    let Some(text) = std::env::var_os(variable) else {
        return default;
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| {
        tracing::warn!("{variable} is left out: it is not a number");
        default
    })
}

/// Why a layer is refused.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// An entry is not to be trusted or not possible.
    #[error("layer entry `{entry}` {why}")]
    Entry {
        /// Its name, unprintable bytes escaped.
        entry: String,
        /// The rest of the sentence.
        why: String,
    },
    /// The archive itself is damaged.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The image could not be written.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Applies one layer's entries to an empty tree.
pub struct LayerReader<'a> {
    tree: Tree,
    image: &'a mut ImageWriter,
    limits: Limits,
    bytes: u64,
    metadata: u64,
}

impl<'a> LayerReader<'a> {
    /// Stores the data of files in `image`.
    pub fn new(image: &'a mut ImageWriter, limits: Limits) -> Self {
        Self {
            tree: Tree::new(),
            image,
            limits,
            bytes: 0,
            metadata: 0,
        }
    }

    /// Reads a layer to the end of its archive and returns its tree, with whiteouts as overlayfs knows them.
    pub fn read(mut self, layer: impl Read) -> Result<Tree, LayerError> {
        let mut tar = TarReader::new(layer);
        let mut entries = 0;
        while let Some(entry) = tar.next()? {
            entries += 1;
            self.apply(&entry, entries, &mut tar)
                .map_err(|why| why.at(&entry))?;
        }
        self.tree.drop_hidden_whiteouts();
        Ok(self.tree)
    }

    fn apply(&mut self, entry: &Entry, number: u64, data: &mut impl Read) -> Result<(), Refusal> {
        if number > self.limits.entries {
            return Err(refuse(format!(
                "is one more than the {} that a layer may have ({ENTRIES} sets another limit)",
                self.limits.entries
            )));
        }
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > self.limits.bytes {
            return Err(refuse(format!(
                "makes the layer larger than the limit of {} bytes ({BYTES} sets another)",
                self.limits.bytes
            )));
        }
        let xattrs = entry
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len());
        let metadata = entry.path.len() + entry.link.len() + xattrs.sum::<usize>();
        self.metadata += metadata as u64;
        if self.metadata > self.limits.metadata {
            return Err(refuse(format!(
                "makes the layer's names and attributes larger than {} bytes",
                self.limits.metadata
            )));
        }
        let components = components(&entry.path)?;
        let Some((&name, parents)) = components.split_last() else {
            return self.apply_root(entry);
        };
        if name.starts_with(WHITEOUT) {
            return self.apply_whiteout(name, parents);
        }
        if name.len() > MAX_NAME {
            return Err(refuse("has a name of more than 255 bytes"));
        }
        let parent = self.make_parents(parents)?;
        let existing = self.tree.child(parent, name);
        let node = match entry.kind {
            EntryKind::Directory => {
                let meta = meta(entry)?;
                match existing.filter(|&id| self.tree.directory(id).is_some()) {
                    Some(id) => self.update_directory(id, meta),
                    None => drop(self.make_directory(parent, name, Some(meta))),
                }
                return Ok(());
            }
            EntryKind::HardLink => {
                let target = self.link_target(&entry.link)?;
                self.tree.link(parent, name, target);
                return Ok(());
            }
            EntryKind::File => self.store(entry, data)?,
            EntryKind::Symlink => symlink(&entry.link)?,
            EntryKind::CharDevice => Kind::CharDevice(device(entry)?),
            EntryKind::BlockDevice => Kind::BlockDevice(device(entry)?),
            EntryKind::Fifo => Kind::Fifo,
            EntryKind::Other(flag) => {
                return Err(refuse(format!(
                    "has the type `{}`, which no layer may hold",
                    flag.escape_ascii()
                )));
            }
        };
        let id = self.tree.add(Node {
            meta: meta(entry)?,
            kind: node,
        });
        self.tree.link(parent, name, id);
        Ok(())
    }

    fn apply_root(&mut self, entry: &Entry) -> Result<(), Refusal> {
        if entry.kind != EntryKind::Directory {
            return Err(refuse("makes the root something else than a directory"));
        }
        self.update_directory(Tree::ROOT, meta(entry)?);
        Ok(())
    }

    /// Whiteouts only delete from lower layers: what this layer puts under the name stays, wherever in the
    /// archive it stands.
    fn apply_whiteout(&mut self, name: &[u8], parents: &[&[u8]]) -> Result<(), Refusal> {
        let is_idle = self.is_hidden(&self.resolve(parents)?);
        if name == OPAQUE && !is_idle {
            let directory = self.make_parents(parents)?;
            self.set_opaque(directory);
            return Ok(());
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        let hidden = &name[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(refuse("is a whiteout of no name"));
        }
        if is_idle {
            return Ok(());
        }
        let parent = self.make_parents(parents)?;
        match self.tree.child(parent, hidden) {
            Some(id) if !self.tree.is_only_whiteouts(id) => self.set_opaque(id),
            _ => {
                let meta = Meta {
                    mode: 0,
                    ..Meta::default_directory()
                };
                let id = self.tree.add(Node {
                    meta,
                    kind: Kind::Whiteout,
                });
                self.tree.link(parent, hidden, id);
            }
        }
        Ok(())
    }

    /// Whether this layer has deleted a directory of the layers below, and made none in its place.
    fn is_hidden(&self, path: &[Vec<u8>]) -> bool {
        let mut directory = Tree::ROOT;
        let mut is_new = false;
        for name in path {
            is_new |= self
                .tree
                .directory(directory)
                .is_some_and(|found| found.opaque);
            directory = match self.tree.child(directory, name) {
                None => return is_new,
                Some(id) if matches!(self.tree.node(id).kind, Kind::Whiteout) => return true,
                Some(id) => id,
            };
        }
        false
    }

    fn set_opaque(&mut self, id: NodeId) {
        if let Some(directory) = self.tree.directory_mut(id) {
            directory.opaque = true;
        }
    }

    fn update_directory(&mut self, id: NodeId, meta: Meta) {
        self.tree.node_mut(id).meta = meta;
        if let Some(directory) = self.tree.directory_mut(id) {
            directory.implicit = false;
        }
    }

    /// A new directory hides what a lower layer has in one of this name, if this layer had deleted or
    /// replaced that before.
    fn make_directory(&mut self, parent: NodeId, name: &[u8], meta: Option<Meta>) -> NodeId {
        let replaces = self.tree.child(parent, name).is_some();
        let directory = Directory {
            opaque: replaces,
            implicit: meta.is_none() && !replaces,
            ..Directory::default()
        };
        let meta = meta.unwrap_or_else(Meta::default_directory);
        let id = self.tree.add(Node {
            meta,
            kind: Kind::Directory(directory),
        });
        self.tree.link(parent, name, id);
        id
    }

    /// The directory with this path, made where it is missing.
    fn make_parents(&mut self, path: &[&[u8]]) -> Result<NodeId, Refusal> {
        let path = self.resolve(path)?;
        let mut directory = Tree::ROOT;
        for name in &path {
            directory = match self.tree.child(directory, name) {
                Some(id) if matches!(self.tree.node(id).kind, Kind::Whiteout) => {
                    self.make_directory(directory, name, None)
                }
                None => self.make_directory(directory, name, None),
                Some(id) if self.tree.directory(id).is_some() => id,
                Some(_) => {
                    let name = name.escape_ascii();
                    return Err(refuse(format!(
                        "lies below `{name}`, which this layer made something else than a directory"
                    )));
                }
            };
        }
        Ok(directory)
    }

    /// Follows the symbolic links of this layer in a path to a directory.
    fn resolve(&self, path: &[&[u8]]) -> Result<Vec<Vec<u8>>, Refusal> {
        let resolved = self
            .tree
            .resolve(path)
            .ok_or_else(|| refuse("lies behind a loop of symbolic links"))?;
        let is_long = |name: &[u8]| name.len() > MAX_NAME;
        if path.iter().any(|name| is_long(name)) || resolved.iter().any(|name| is_long(name)) {
            return Err(refuse("has a directory with a name of more than 255 bytes"));
        }
        Ok(resolved)
    }

    fn link_target(&self, link: &[u8]) -> Result<NodeId, Refusal> {
        let missing = || {
            refuse(format!(
                "is a hard link to `{}`, which is not in this layer",
                link.escape_ascii()
            ))
        };
        let components = components(link).map_err(|_| {
            refuse(format!(
                "is a hard link to `{}`, which leaves the image's root",
                link.escape_ascii()
            ))
        })?;
        let (&name, parents) = components.split_last().ok_or_else(missing)?;
        let mut directory = Tree::ROOT;
        for name in self.resolve(parents)? {
            directory = self.tree.child(directory, &name).ok_or_else(missing)?;
        }
        let target = self.tree.child(directory, name).ok_or_else(missing)?;
        match self.tree.node(target).kind {
            Kind::Whiteout => Err(missing()),
            Kind::Directory(_) => Err(refuse("is a hard link to a directory")),
            _ => Ok(target),
        }
    }

    fn store(&mut self, entry: &Entry, data: &mut impl Read) -> Result<Kind, Refusal> {
        if entry.size == 0 {
            return Ok(Kind::File { block: 0, size: 0 });
        }
        let whole = [(0, entry.size)];
        let extents = entry.extents.as_deref().unwrap_or(&whole);
        let block = self.image.write_file(entry.size, extents, data)?;
        Ok(Kind::File {
            block,
            size: entry.size,
        })
    }
}

/// An entry's reason to be refused, before it is known as the entry's.
enum Refusal {
    Because(String),
    Image(ImageError),
}

fn refuse(why: impl Into<String>) -> Refusal {
    Refusal::Because(why.into())
}

impl From<ImageError> for Refusal {
    fn from(err: ImageError) -> Self {
        Self::Image(err)
    }
}

impl Refusal {
    fn at(self, entry: &Entry) -> LayerError {
        match self {
            Self::Because(why) => LayerError::Entry {
                entry: entry.path.escape_ascii().to_string(),
                why,
            },
            Self::Image(ImageError::Read(err)) => LayerError::Tar(TarError::Read(err)),
            Self::Image(err) => LayerError::Image(err),
        }
    }
}

/// The names in a path, from the root on whether it starts with `/` or not.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    if path.len() > MAX_PATH {
        return Err(refuse("has a path of more than 4096 bytes"));
    }
    if path.contains(&0) {
        return Err(refuse("has a NUL in its name"));
    }
    let components: Vec<_> = path
        .split(|&byte| byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .collect();
    if components.contains(&&b".."[..]) {
        return Err(refuse("leaves the image's root with `..`"));
    }
    Ok(components)
}

fn meta(entry: &Entry) -> Result<Meta, Refusal> {
    let mut xattrs = Xattrs::default();
    for (name, value) in &entry.xattrs {
        // A layer that speaks to overlayfs could reach what other layers hide; labels are the host's affair.
        let is_foreign = name.starts_with(b"trusted.overlay.") || name == b"security.selinux";
        if Xattrs::can_hold(name) && !is_foreign {
            xattrs.set(name, value);
        }
    }
    if !xattrs.fits() {
        return Err(refuse("has extended attributes that are too large"));
    }
    Ok(Meta {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: (entry.mtime, entry.mtime_nsec),
        xattrs,
    })
}

fn symlink(target: &[u8]) -> Result<Kind, Refusal> {
    if target.is_empty() || target.len() >= MAX_PATH || target.contains(&0) {
        return Err(refuse(
            "is a symbolic link to nothing or to more than 4095 bytes",
        ));
    }
    Ok(Kind::Symlink(target.into()))
}

fn device(entry: &Entry) -> Result<u32, Refusal> {
    let (major, minor) = entry.device;
    device_number(major, minor).ok_or_else(|| {
        refuse(format!(
            "is the device {major}:{minor}, which Linux cannot have"
        ))
    })
}
