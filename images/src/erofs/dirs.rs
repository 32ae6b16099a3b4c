//! Directory blocks: dirents first, their names behind them, no name across a block.

use super::format::DIRENT;
use super::tree::{Kind, NodeId, Tree};
use super::writer::BLOCK_SIZE;

/// A name and what it names.
pub(super) type Entry<'a> = (&'a [u8], NodeId);

/// The entries of a directory, `.` and `..` in their place among the others, cut into blocks.
pub(super) fn blocks(tree: &Tree, id: NodeId, parent: NodeId) -> Vec<Vec<Entry<'_>>> {
    let mut entries: Vec<Entry> = vec![(b".", id), (b"..", parent)];
    if let Some(directory) = tree.directory(id) {
        entries.extend(
            directory
                .children
                .iter()
                .map(|(name, &child)| (&**name, child)),
        );
    }
    // The kernel searches by halves: even names below `.` have to be in front of it.
    entries.sort_unstable_by_key(|entry| entry.0);

    let mut blocks = vec![Vec::new()];
    let mut used = 0;
    for entry in entries {
        let size = DIRENT + entry.0.len();
        if used + size > BLOCK_SIZE {
            blocks.push(Vec::new());
            used = 0;
        }
        used += size;
        if let Some(block) = blocks.last_mut() {
            block.push(entry);
        }
    }
    blocks
}

/// Bytes that a block's entries take.
pub(super) fn used(block: &[Entry]) -> usize {
    block.iter().map(|(name, _)| DIRENT + name.len()).sum()
}

/// The bytes of a block, without what fills it up. `nid` gives the inode number on disk.
pub(super) fn encode(tree: &Tree, block: &[Entry], nid: impl Fn(NodeId) -> u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK_SIZE);
    let mut name_offset = block.len() * DIRENT;
    for &(name, id) in block {
        bytes.extend_from_slice(&nid(id).to_le_bytes());
        bytes.extend_from_slice(&(name_offset as u16).to_le_bytes());
        bytes.extend_from_slice(&[file_type(&tree.node(id).kind), 0]);
        name_offset += name.len();
    }
    for (name, _) in block {
        bytes.extend_from_slice(name);
    }
    bytes
}

/// `FT_*` of `include/linux/fs_types.h`.
fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } => 1,
        Kind::Directory(_) => 2,
        Kind::CharDevice(_) | Kind::Whiteout => 3,
        Kind::BlockDevice(_) => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}
