//! Directories that a layer has something in but does not list: they keep what the layers below say of them.
//!
//! overlayfs takes a directory's attributes from the uppermost layer that has it. A layer's file system cannot
//! know what lies below, as it is shared by all images that have the layer; so such directories are marked in it,
//! and an image in which that makes a difference gets one more file system, with these directories and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;

use crate::erofs::{Directory, Kind, Meta, Node, Reader, StoredEntry, StoredInode, Tree};

/// A directory as the layers have it together.
struct Merged {
    parent: usize,
    name: Box<[u8]>,
    /// What it should have.
    meta: Meta,
    /// overlayfs shows something else.
    is_wrong: bool,
    /// The layers whose content shows, uppermost first.
    content: Vec<(usize, StoredInode)>,
}

/// What a layer has in one directory.
type Listing = BTreeMap<Box<[u8]>, StoredEntry>;

/// What it takes to make all directories of an image right.
pub(crate) enum Correction {
    /// They are.
    Needless,
    /// These on top of all layers.
    Directories(Tree),
    /// Merging all but so many uppermost layers.
    Merge(usize),
}

/// Looks at `layers`, uppermost first.
pub(crate) fn correction(layers: &[&File]) -> io::Result<Correction> {
    let readers: Vec<Reader<&File>> = layers
        .iter()
        .map(|file| Reader::open(*file))
        .collect::<io::Result<_>>()?;
    let roots = readers
        .iter()
        .enumerate()
        .map(|(layer, reader)| Ok((layer, reader.inode(reader.root())?)))
        .collect::<io::Result<Vec<_>>>()?;
    let mut all = Vec::from_iter(merge(0, b"", roots));
    let mut next = 0;
    let mut behind_links: Option<usize> = None;
    while next < all.len() {
        let content = std::mem::take(&mut all[next].content);
        let layer = children(next, &readers, &content, &mut all)?;
        behind_links = behind_links.into_iter().chain(layer).min();
        next += 1;
    }
    Ok(match (behind_links, tree(&all)) {
        (Some(layer), _) => Correction::Merge(layer),
        (None, Some(tree)) => Correction::Directories(tree),
        (None, None) => Correction::Needless,
    })
}

/// Adds the directories in the one at `parent`. Returns the uppermost layer that has something behind a symbolic
/// link of a layer below.
fn children(
    parent: usize,
    readers: &[Reader<&File>],
    content: &[(usize, StoredInode)],
    all: &mut Vec<Merged>,
) -> io::Result<Option<usize>> {
    let mut listings: Vec<(usize, Listing)> = Vec::new();
    for (layer, directory) in content {
        let entries = readers[*layer].entries(directory)?.into_iter();
        listings.push((*layer, entries.collect()));
    }
    // A directory of a single layer is listed as it is, whiteouts included; one of two layers is not.
    if let [(layer, entries)] = &listings[..] {
        for entry in entries.values() {
            all[parent].is_wrong |= readers[*layer].is_whiteout(*entry)?;
        }
    }
    let all_entries = listings.iter().flat_map(|(_, entries)| entries);
    let names: BTreeSet<&[u8]> = all_entries
        .filter(|(_, entry)| entry.is_directory())
        .map(|(name, _)| &**name)
        .collect();
    let mut behind_links: Option<usize> = None;
    for name in names {
        let mut found: Vec<(usize, StoredInode)> = Vec::new();
        for (layer, entries) in &listings {
            match entries.get(name) {
                Some(entry) if entry.is_directory() => {
                    found.push((*layer, readers[*layer].inode(entry.number())?));
                }
                // A file or a whiteout hides what is below.
                Some(entry) => {
                    let above = found.last().filter(|(_, above)| above.implicit);
                    let above = above
                        .filter(|_| entry.is_symlink())
                        .map(|(layer, _)| *layer);
                    behind_links = behind_links.into_iter().chain(above).min();
                    break;
                }
                None => {}
            }
        }
        all.extend(merge(parent, name, found));
    }
    Ok(behind_links)
}

/// Joins what the layers have under one name, uppermost first.
fn merge(parent: usize, name: &[u8], mut found: Vec<(usize, StoredInode)>) -> Option<Merged> {
    let (_, uppermost) = found.first()?;
    // An opaque directory hides content, not the attributes of a directory that it does not list.
    let listed = found
        .iter()
        .map(|(_, directory)| directory)
        .find(|directory| !directory.implicit);
    let meta = listed.unwrap_or(uppermost).meta.clone();
    let is_wrong = !meta.same(&uppermost.meta);
    if let Some(opaque) = found.iter().position(|(_, directory)| directory.opaque) {
        found.truncate(opaque + 1);
    }
    Some(Merged {
        parent,
        name: name.into(),
        meta,
        is_wrong,
        content: found,
    })
}

/// A tree of the directories that are wrong, and of those above them.
fn tree(all: &[Merged]) -> Option<Tree> {
    let mut needed: Vec<bool> = all.iter().map(|directory| directory.is_wrong).collect();
    for index in (1..all.len()).rev() {
        needed[all[index].parent] |= needed[index];
    }
    if !*needed.first()? {
        return None;
    }
    let mut tree = Tree::new();
    let mut ids = vec![Tree::ROOT; all.len()];
    for (index, directory) in all.iter().enumerate().filter(|(index, _)| needed[*index]) {
        let meta = directory.meta.clone();
        if index == 0 {
            tree.node_mut(Tree::ROOT).meta = meta;
            continue;
        }
        ids[index] = tree.add(Node {
            meta,
            kind: Kind::Directory(Directory::default()),
        });
        tree.link(ids[directory.parent], &directory.name, ids[index]);
    }
    Some(tree)
}
