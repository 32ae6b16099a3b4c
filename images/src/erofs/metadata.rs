//! Decides where inodes and directory blocks go, and writes them.
//!
//! Full directory blocks come first, then the inodes: the root, then level by level, so that what a
//! directory lists stands together. An inode with its attributes and its inline data never crosses a
//! block, except when the attributes alone are larger than one.

use std::collections::HashMap;

use super::dirs;
use super::format::{IMPLIED, Inode, Layout, SLOT};
use super::tree::{Kind, NodeId, Tree};
use super::writer::{BLOCK_SIZE, ImageError};

/// The first two slots stay empty: readers take inode number 0 for a deleted name.
const FIRST_INODE: u64 = 2 * SLOT;

/// The places of all metadata of a tree.
pub(super) struct Metadata<'a> {
    tree: &'a Tree,
    build_time: (i64, u32),
    /// Nodes that have a name, in the order of their inodes.
    order: Vec<NodeId>,
    /// By node: names, or 2 and the number of subdirectories.
    links: Vec<u32>,
    /// By node: the directory that a directory is in.
    parents: Vec<NodeId>,
    /// By node: bytes from the start of the metadata.
    places: Vec<u64>,
    /// By node: first block of a directory or a long symbolic link.
    data: Vec<u32>,
    /// By node: bytes of a directory's entries or a link's target.
    sizes: Vec<u64>,
    first_inode_block: u32,
}

/// A node's content that is metadata here: directory entries, or where a link points.
struct Content {
    blocks: Vec<Vec<u8>>,
    tail: Vec<u8>,
}

impl<'a> Metadata<'a> {
    /// Places everything from `first_block` on.
    pub(super) fn lay_out(tree: &'a Tree, first_block: u32) -> Self {
        let mut metadata = Self {
            tree,
            build_time: commonest_time(tree),
            order: Vec::new(),
            links: vec![0; tree.len()],
            parents: vec![Tree::ROOT; tree.len()],
            places: vec![0; tree.len()],
            data: vec![0; tree.len()],
            sizes: vec![0; tree.len()],
            first_inode_block: first_block,
        };
        metadata.walk();
        metadata.measure();
        metadata.place(first_block);
        metadata
    }

    /// The root directory's inode number.
    pub(super) fn root_nid(&self) -> u16 {
        // The first inode: the superblock has only 16 bits for it.
        (self.places[Tree::ROOT as usize] / SLOT) as u16
    }

    /// Number of inodes.
    pub(super) fn inodes(&self) -> u64 {
        self.order.len() as u64
    }

    /// The time that compact inodes have.
    pub(super) fn build_time(&self) -> (i64, u32) {
        self.build_time
    }

    /// The block that inode numbers count from.
    pub(super) fn first_inode_block(&self) -> u32 {
        self.first_inode_block
    }

    /// Finds the nodes that have names, and counts the names.
    fn walk(&mut self) {
        self.order.push(Tree::ROOT);
        self.links[Tree::ROOT as usize] = 2;
        let mut next = 0;
        while let Some(&id) = self.order.get(next) {
            next += 1;
            let Some(directory) = self.tree.directory(id) else {
                continue;
            };
            for &child in directory.children.values() {
                let is_directory = self.tree.directory(child).is_some();
                let links = &mut self.links[child as usize];
                if *links == 0 {
                    self.order.push(child);
                }
                if is_directory {
                    *links = 2;
                    self.links[id as usize] += 1;
                    self.parents[child as usize] = id;
                } else {
                    *links += 1;
                }
            }
        }
    }

    fn measure(&mut self) {
        for &id in &self.order {
            self.sizes[id as usize] = match &self.tree.node(id).kind {
                Kind::Directory(_) => {
                    let blocks = dirs::blocks(self.tree, id, self.parents[id as usize]);
                    let last = blocks.last().map_or(0, |block| dirs::used(block));
                    ((blocks.len() - 1) * BLOCK_SIZE + last) as u64
                }
                Kind::Symlink(target) => target.len() as u64,
                _ => 0,
            };
        }
    }

    fn place(&mut self, first_block: u32) {
        let mut next_block = first_block;
        let mut position = FIRST_INODE;
        for index in 0..self.order.len() {
            let id = self.order[index];
            let inode = self.inode(id);
            let content = self.content(id, |_| 0);
            if !content.blocks.is_empty() {
                self.data[id as usize] = next_block;
                next_block += content.blocks.len() as u32;
            }
            let length = (inode.encoded_size(self.build_time)
                + inode.xattr_size
                + content.tail.len()) as u64;
            let block = BLOCK_SIZE as u64;
            if position % block + length > block {
                position = position.next_multiple_of(block);
            }
            self.places[id as usize] = position;
            position = (position + length).next_multiple_of(SLOT);
        }
        self.first_inode_block = next_block;
    }

    /// Writes what [`lay_out`](Self::lay_out) placed, in order.
    pub(super) fn write(
        &self,
        mut put: impl FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let nid = |id: NodeId| self.places[id as usize] / SLOT;
        for &id in &self.order {
            for mut block in self.content(id, nid).blocks {
                block.resize(BLOCK_SIZE, 0);
                put(&block)?;
            }
        }
        let mut position = 0;
        for &id in &self.order {
            let place = self.places[id as usize];
            put(&vec![0; (place - position) as usize])?;
            let mut bytes = self.inode(id).encode(self.build_time);
            bytes.extend_from_slice(&self.xattrs(id));
            bytes.extend_from_slice(&self.content(id, nid).tail);
            put(&bytes)?;
            position = place + bytes.len() as u64;
        }
        Ok(())
    }

    fn xattrs(&self, id: NodeId) -> Vec<u8> {
        let opaque = self
            .tree
            .directory(id)
            .is_some_and(|directory| directory.opaque);
        self.tree.node(id).meta.xattrs.encode(opaque)
    }

    fn inode(&self, id: NodeId) -> Inode {
        let node = self.tree.node(id);
        let meta = &node.meta;
        let (file_type, data, size) = match &node.kind {
            Kind::Directory(_) | Kind::Symlink(_) => {
                let file_type = if matches!(node.kind, Kind::Directory(_)) {
                    0o040_000
                } else {
                    0o120_000
                };
                (file_type, self.data[id as usize], self.sizes[id as usize])
            }
            Kind::File { block, size } => (0o100_000, if *size == 0 { 0 } else { *block }, *size),
            Kind::CharDevice(number) => (0o020_000, *number, 0),
            Kind::BlockDevice(number) => (0o060_000, *number, 0),
            Kind::Fifo => (0o010_000, 0, 0),
            Kind::Whiteout => (0o020_000, 0, 0),
        };
        let mut inode = Inode {
            layout: Layout::Plain,
            xattr_size: self.xattrs(id).len(),
            mode: file_type | meta.mode,
            links: self.links[id as usize],
            size,
            data,
            number: match self.tree.directory(id) {
                Some(directory) if directory.implicit => IMPLIED,
                _ => id + 1,
            },
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
        };
        if self
            .tail_size(id)
            .is_some_and(|tail| self.fits_inline(&inode, tail))
        {
            inode.layout = Layout::Inline;
        }
        inode
    }

    /// Linux wants all of a symbolic link, and the last block of a directory, in the inode's own block.
    fn fits_inline(&self, inode: &Inode, tail: usize) -> bool {
        inode.encoded_size(self.build_time) + inode.xattr_size + tail <= BLOCK_SIZE
    }

    /// Bytes of the content that are no full block, for the kinds that may have them inline.
    fn tail_size(&self, id: NodeId) -> Option<usize> {
        match &self.tree.node(id).kind {
            Kind::Directory(_) | Kind::Symlink(_) => {
                match self.sizes[id as usize] as usize % BLOCK_SIZE {
                    0 => None,
                    tail => Some(tail),
                }
            }
            _ => None,
        }
    }

    fn content(&self, id: NodeId, nid: impl Fn(NodeId) -> u64) -> Content {
        let mut blocks = match &self.tree.node(id).kind {
            Kind::Directory(_) => dirs::blocks(self.tree, id, self.parents[id as usize])
                .iter()
                .map(|block| dirs::encode(self.tree, block, &nid))
                .collect(),
            Kind::Symlink(target) => vec![target.to_vec()],
            _ => Vec::new(),
        };
        let mut tail = Vec::new();
        if !blocks.is_empty() && self.inode(id).layout == Layout::Inline {
            tail = blocks.pop().unwrap_or_default();
        }
        Content { blocks, tail }
    }
}

/// The most frequent modification time: inodes that have it are half the size.
fn commonest_time(tree: &Tree) -> (i64, u32) {
    let mut counts: HashMap<(i64, u32), u32> = HashMap::new();
    for id in 0..tree.len() as NodeId {
        *counts.entry(tree.node(id).meta.mtime).or_default() += 1;
    }
    // The earliest of several, so that the image depends on nothing but the layer.
    counts
        .into_iter()
        .max_by_key(|&(time, count)| (count, std::cmp::Reverse(time)))
        .map_or((0, 0), |(time, _)| time)
}
