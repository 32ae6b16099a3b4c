//! A file system's names and attributes in memory; the data of its files is in the image already.

use std::collections::BTreeMap;

use super::xattr::Xattrs;

/// What Linux allows in one path.
const MAX_SYMLINKS: usize = 40;

/// Index of a [`Node`] in its [`Tree`]. Names that share one are hard links.
pub type NodeId = u32;

/// All nodes of a file system, from the root directory at [`Tree::ROOT`].
///
/// Nodes that were replaced stay in it without a name and are not written.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
}

/// What an inode will hold.
#[derive(Debug)]
pub struct Node {
    /// Owner, mode, time, extended attributes.
    pub meta: Meta,
    /// Type and content.
    pub kind: Kind,
}

/// Attributes that all kinds of nodes have.
#[derive(Debug, Clone)]
pub struct Meta {
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// The type of a node and what only that type has.
#[derive(Debug)]
pub enum Kind {
    /// A directory.
    Directory(Directory),
    /// A regular file whose data begins at `block` of the image.
    File {
        /// First block; of no meaning when `size` is 0.
        block: u32,
        /// Length in bytes.
        size: u64,
    },
    /// A symbolic link with its target.
    Symlink(Box<[u8]>),
    /// A character device, with its number as [`device_number`](super::tree::device_number) makes it.
    CharDevice(u32),
    /// A block device.
    BlockDevice(u32),
    /// A named pipe.
    Fifo,
    /// The name is deleted from the layers below; on disk the character device 0:0, as overlayfs has it.
    Whiteout,
}

/// A directory's entries and what overlayfs has to know of it.
#[derive(Debug, Default)]
pub struct Directory {
    /// Names, sorted by their bytes as the format demands; without `.` and `..`.
    pub children: BTreeMap<Box<[u8]>, NodeId>,
    /// Nothing of the directory in the layers below shows through.
    pub opaque: bool,
    /// No entry of the layer made it; it is there because something is in it, and its attributes are those of
    /// the layers below.
    pub implicit: bool,
}

impl Meta {
    /// What a directory gets that the layer says nothing about.
    pub fn default_directory() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: Xattrs::default(),
        }
    }
}

impl Meta {
    /// Whether nothing tells them apart.
    pub fn same(&self, other: &Self) -> bool {
        (self.mode, self.uid, self.gid, self.mtime)
            == (other.mode, other.uid, other.gid, other.mtime)
            && self.xattrs.same(&other.xattrs)
    }
}

impl Tree {
    /// The root directory's node.
    pub const ROOT: NodeId = 0;

    /// A root directory with nothing in it.
    pub fn new() -> Self {
        let directory = Directory {
            implicit: true,
            ..Directory::default()
        };
        Self {
            nodes: vec![Node {
                meta: Meta::default_directory(),
                kind: Kind::Directory(directory),
            }],
        }
    }

    /// Number of nodes, those without a name included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is not even a root.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node `id`, which this tree gave out.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    /// The same, to be changed.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    /// The directory `id`, or `None` when it is something else.
    pub fn directory(&self, id: NodeId) -> Option<&Directory> {
        match &self.node(id).kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn directory_mut(&mut self, id: NodeId) -> Option<&mut Directory> {
        match &mut self.node_mut(id).kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// What has `name` in the directory `parent`.
    pub fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.directory(parent)?.children.get(name).copied()
    }

    /// Adds a node that has no name yet.
    pub fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeId
    }

    /// Gives `name` in the directory `parent` to `node`, in place of what had it.
    pub fn link(&mut self, parent: NodeId, name: &[u8], node: NodeId) {
        if let Some(directory) = self.directory_mut(parent) {
            directory.children.insert(name.into(), node);
        }
    }

    /// Lays `upper` over this tree as overlayfs would, and leaves nothing for overlayfs to do.
    pub fn merge(&mut self, upper: Tree) {
        let shift = self.nodes.len() as NodeId;
        for mut node in upper.nodes {
            if let Kind::Directory(directory) = &mut node.kind {
                directory
                    .children
                    .values_mut()
                    .for_each(|child| *child += shift);
            }
            self.nodes.push(node);
        }
        let mut todo = vec![(Self::ROOT, shift, Vec::new())];
        while let Some((lower, upper, path)) = todo.pop() {
            let meta = self.node(upper).meta.clone();
            let Some(above) = self.directory_mut(upper).map(std::mem::take) else {
                continue;
            };
            if !above.implicit {
                self.node_mut(lower).meta = meta;
            }
            if let Some(below) = self.directory_mut(lower) {
                below.implicit &= above.implicit;
                if above.opaque {
                    below.children.clear();
                }
            }
            for (name, node) in above.children {
                let mut own = path.clone();
                own.push(name.to_vec());
                match self.place(lower, &mut own, node) {
                    Some(below) => todo.push((below, node, own)),
                    None => self.link(lower, &name, node),
                }
            }
        }
        self.drop_whiteouts();
    }

    /// The directory that `above`, to be put at `path` in `lower`, is merged with, if it is with one: the one that
    /// is there, or the one that a symbolic link there leads to when `above` is only on something's way.
    fn place(&mut self, lower: NodeId, path: &mut Vec<Vec<u8>>, above: NodeId) -> Option<NodeId> {
        let below = self.child(lower, path.last()?)?;
        if self.merges(below, above) {
            return Some(below);
        }
        let Kind::Symlink(_) = &self.node(below).kind else {
            return None;
        };
        self.directory(above).filter(|above| above.implicit)?;
        *path = self.resolve(path)?;
        let mut directory = Self::ROOT;
        for name in &*path {
            directory = match self.child(directory, name) {
                Some(id) if self.directory(id).is_some() => id,
                Some(_) => return None,
                None => {
                    let new = Self::new().nodes.remove(0);
                    let id = self.add(new);
                    self.link(directory, name, id);
                    id
                }
            };
        }
        Some(directory)
    }

    /// Follows the symbolic links in a path to a directory, as if the root were `/`; `None` when they lead in a
    /// circle.
    ///
    /// What does not exist is taken as it is written, as in umoci's `SecureJoin`.
    pub fn resolve(&self, path: &[impl AsRef<[u8]>]) -> Option<Vec<Vec<u8>>> {
        let mut todo: Vec<Vec<u8>> = path
            .iter()
            .rev()
            .map(|name| name.as_ref().to_vec())
            .collect();
        let mut done: Vec<(Vec<u8>, Option<NodeId>)> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    done.pop();
                    continue;
                }
                _ => {}
            }
            let parent = done.last().map_or(Some(Self::ROOT), |(_, id)| *id);
            let id = parent.and_then(|parent| self.child(parent, &name));
            if let Some(Kind::Symlink(target)) = id.map(|id| &self.node(id).kind) {
                links += 1;
                if links > MAX_SYMLINKS {
                    return None;
                }
                if target.first() == Some(&b'/') {
                    done.clear();
                }
                todo.extend(target.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
            } else {
                done.push((name, id));
            }
        }
        Some(done.into_iter().map(|(name, _)| name).collect())
    }

    fn merges(&self, below: NodeId, above: NodeId) -> bool {
        self.directory(below).is_some() && self.directory(above).is_some()
    }

    /// Whether a directory is there for the whiteouts in it alone.
    pub fn is_only_whiteouts(&self, id: NodeId) -> bool {
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            match &self.node(id).kind {
                Kind::Whiteout => {}
                Kind::Directory(directory) if directory.implicit => {
                    todo.extend(directory.children.values());
                }
                _ => return false,
            }
        }
        true
    }

    /// Takes whiteouts away where an opaque directory hides all layers below already, and directories that are
    /// there for these alone: they would make something out of nothing.
    pub fn drop_hidden_whiteouts(&mut self) {
        let mut order = vec![(Self::ROOT, false)];
        let mut next = 0;
        while let Some(&(id, is_hidden)) = order.get(next) {
            next += 1;
            let Some(directory) = self.directory(id) else {
                continue;
            };
            let is_hidden = is_hidden || directory.opaque;
            let children = directory.children.values();
            order.extend(children.map(|&child| (child, is_hidden)));
        }
        // Parents stand before their children.
        for (id, is_hidden) in order.into_iter().rev() {
            let Some(directory) = self.directory_mut(id) else {
                continue;
            };
            if !is_hidden && !directory.opaque {
                continue;
            }
            let mut children = std::mem::take(&mut directory.children);
            children.retain(|_, &mut child| match &self.node(child).kind {
                Kind::Whiteout => false,
                Kind::Directory(directory) => !directory.implicit || !directory.children.is_empty(),
                _ => true,
            });
            if let Some(directory) = self.directory_mut(id) {
                directory.children = children;
            }
        }
    }

    /// Takes all marks for overlayfs away: below this tree there is nothing they could hide.
    pub fn drop_whiteouts(&mut self) {
        for id in 0..self.nodes.len() as NodeId {
            let Some(directory) = self.directory_mut(id) else {
                continue;
            };
            let mut children = std::mem::take(&mut directory.children);
            directory.opaque = false;
            children.retain(|_, &mut child| !matches!(self.node(child).kind, Kind::Whiteout));
            if let Some(directory) = self.directory_mut(id) {
                directory.children = children;
            }
        }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

/// A device number as the kernel's `new_encode_dev` packs it; `None` when it has no room for it.
pub fn device_number(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20)
        .then_some(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}
