//! Images of many layers with hard cases at random: the mounted tree is the one that umoci unpacks.
//!
//! A failure names its seed: `RVM_TEST_SEEDS=7..8` repeats that one, `0..1000` looks for more.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::layers::{LayerBuilder, layer, noise};
use common::mounts::Mounts;
use common::snapshot::{Snapshot, assert_same, snapshot};
use common::{chain, is_root, layout, run, str, tempdir};
use rvm_images::{LoadOptions, Store};
use tar::EntryType;

/// Times of entries lie before this one, the time of umoci's own doings behind it.
const LATEST: u64 = 1_700_000_000;

/// A small generator of numbers: the tests are the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Directory,
    Other,
}

type Path_ = Vec<u8>;

/// The tree so far, without its root, and the layer in the making.
struct Generator {
    random: Random,
    tree: BTreeMap<Path_, Kind>,
    layer: Option<LayerBuilder>,
    /// What this layer made.
    own: BTreeSet<Path_>,
    /// What can be linked to: files that this layer made and has not replaced.
    links: Vec<Path_>,
    /// Symbolic links and the directories that they lead to; only some images have such.
    ways: Vec<(Path_, Path_)>,
    has_ways: bool,
    /// What this layer has put behind such links, and the links: these it leaves alone.
    behind: Vec<Path_>,
    next: usize,
}

fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    &path[..slash.unwrap_or(0)]
}

fn join(folder: &[u8], name: &[u8]) -> Path_ {
    match folder {
        b"" => name.to_vec(),
        folder => [folder, b"/", name].concat(),
    }
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        random.below(2);
        Self {
            random,
            tree: BTreeMap::new(),
            layer: None,
            own: BTreeSet::new(),
            links: Vec::new(),
            ways: Vec::new(),
            has_ways: seed % 4 == 3,
            behind: Vec::new(),
            next: 0,
        }
    }

    /// One more layer of so many steps.
    fn layer(&mut self, steps: usize) -> Vec<u8> {
        self.layer = Some(layer());
        self.own.clear();
        self.links.clear();
        self.behind.clear();
        if self.random.one_in(3) {
            self.list(b"");
        }
        for _ in 0..steps {
            match self.random.below(if self.has_ways { 17 } else { 14 }) {
                14 => self.make_way(),
                15 | 16 => self.make_behind_link(),
                0..=4 => self.make(),
                5 => self.make_deep(),
                6 => self.list_some(),
                7 => self.link(),
                8 => self.replace(),
                9 => self.delete(),
                10 => self.delete_and_remake(),
                11 => self.opaque(),
                12 => self.sparse(),
                _ => self.delete_what_never_was(),
            }
        }
        self.layer.take().unwrap().done()
    }

    fn put(&mut self, kind: EntryType, path: &[u8], link: &[u8], data: &[u8]) {
        let random = &mut self.random;
        let mode = *random.of(&[0o644, 0o600, 0o755, 0o4755, 0o2711, 0o1777, 0o000]);
        // The kernel would give it to directories that umoci makes below.
        let mode = if kind == EntryType::Directory {
            mode & !0o2000
        } else {
            mode
        };
        let owner = *random.of(&[0, 0, 1000, 65_534, 3_000_000]);
        let group = *random.of(&[0, 5, 100_000]);
        let time = random.below(LATEST as usize) as u64;
        let mut records: Vec<(&str, Vec<u8>)> = Vec::new();
        if random.one_in(4) {
            records.push((
                "mtime",
                format!("{time}.{:09}", random.below(1_000_000_000)).into_bytes(),
            ));
        }
        if random.one_in(5) && matches!(kind, EntryType::Regular | EntryType::Directory) {
            records.push(("SCHILY.xattr.user.some", noise(random.below(60), time)));
        }
        if random.one_in(6) && kind == EntryType::Regular {
            let mut capability = [0; 20];
            capability[..6].copy_from_slice(&[1, 0, 0, 2, 0, 0x20]);
            records.push(("SCHILY.xattr.security.capability", capability.to_vec()));
        }
        if random.one_in(8) && !matches!(kind, EntryType::Link) {
            records.push(("SCHILY.xattr.trusted.other", b"a\nb=c\0".to_vec()));
        }
        let device = (random.below(300) as u32, random.below(70_000) as u32);
        let mut layer = self.layer.take().unwrap();
        if !records.is_empty() && kind != EntryType::Link {
            let records: Vec<_> = records
                .iter()
                .map(|(name, value)| (*name, &value[..]))
                .collect();
            layer = layer.pax(&records);
        }
        let layer = layer.raw(kind, path, link, data, |header| {
            header.set_mode(if kind == EntryType::Symlink {
                0o777
            } else {
                mode
            });
            header.set_uid(owner);
            header.set_gid(group);
            header.set_mtime(time);
            if matches!(kind, EntryType::Char | EntryType::Block) {
                header.set_device_major(device.0 + 1).unwrap();
                header.set_device_minor(device.1).unwrap();
            }
        });
        self.layer = Some(layer);
    }

    fn put_mark(&mut self, path: &[u8]) {
        let layer = self.layer.take().unwrap();
        self.layer = Some(layer.raw(EntryType::Regular, path, b"", b"", |_| {}));
    }

    /// Lists a directory, which is there or not.
    fn list(&mut self, path: &[u8]) {
        let name = match self.random.below(3) {
            0 if path != b"" => path.to_vec(),
            1 => [b"./", path, b"/"].concat(),
            _ => [path, b"/"].concat(),
        };
        self.put(
            EntryType::Directory,
            if path == b"" { b"./" } else { &name },
            b"",
            b"",
        );
        if path != b"" {
            self.note(path, Kind::Directory);
        }
    }

    /// Notes that this layer made something, and what is above it.
    fn note(&mut self, path: &[u8], kind: Kind) {
        let mut above = parent(path);
        while above != b"" {
            self.tree.insert(above.to_vec(), Kind::Directory);
            self.own.insert(above.to_vec());
            above = parent(above);
        }
        self.tree.insert(path.to_vec(), kind);
        self.own.insert(path.to_vec());
        if kind == Kind::Directory {
            self.links.retain(|link| link != path);
        }
        self.ways.retain(|(link, _)| link != path);
    }

    fn forget(&mut self, path: &[u8]) {
        let below = join(path, b"");
        let is_below = |other: &Path_| other == path || other.starts_with(&below);
        self.tree.retain(|other, _| !is_below(other));
        self.links.retain(|other| !is_below(other));
        self.ways
            .retain(|(link, target)| !is_below(link) && !is_below(target));
    }

    fn name(&mut self) -> Path_ {
        self.next += 1;
        let n = self.next;
        match self.random.below(8) {
            0 => [b"not-utf8-\xff\x80-", n.to_string().as_bytes()].concat(),
            1 => format!("{}-{n}", "long".repeat(40)).into_bytes(),
            2 => format!("\u{fc}n\u{ef}c\u{f6}de {n}").into_bytes(),
            3 => format!(" -{n}\n").into_bytes(),
            _ => format!("name-{n}").into_bytes(),
        }
    }

    fn directory(&mut self) -> Path_ {
        let mut all: Vec<Path_> = vec![Path_::new()];
        let directories = self
            .tree
            .iter()
            .filter(|(_, kind)| **kind == Kind::Directory);
        all.extend(
            directories
                .map(|(path, _)| path.clone())
                .filter(|path| path.len() < 600),
        );
        self.random.of(&all).clone()
    }

    /// Something that a lower layer has, and this one has not touched.
    fn lower(&mut self, kind: Option<Kind>) -> Option<Path_> {
        let is_it = |(path, found): &(&Path_, &Kind)| {
            kind.is_none_or(|kind| kind == **found) && !self.own.contains(*path)
        };
        let all: Vec<_> = self
            .tree
            .iter()
            .filter(is_it)
            .map(|(path, _)| path.clone())
            .collect();
        (!all.is_empty()).then(|| self.random.of(&all).clone())
    }

    fn make_at(&mut self, path: &[u8]) {
        match self.random.below(9) {
            0 | 1 => return self.list(path),
            2 => self.put(EntryType::Symlink, path, b"../some/where", b""),
            3 => self.put(EntryType::Char, path, b"", b""),
            4 => self.put(EntryType::Block, path, b"", b""),
            5 => self.put(EntryType::Fifo, path, b"", b""),
            _ => {
                let size = *self.random.of(&[0, 1, 4095, 4096, 10_000]);
                let data = noise(size, self.next as u64);
                self.put(EntryType::Regular, path, b"", &data);
            }
        }
        self.note(path, Kind::Other);
        self.links.push(path.to_vec());
    }

    /// Something new in a directory, which this layer lists before it, behind it, or not at all.
    fn make(&mut self) {
        let folder = self.directory();
        let path = join(&folder, &self.name());
        let when = self.random.below(4);
        if when == 0 {
            self.list(&folder);
        }
        self.make_at(&path);
        if when == 1 {
            self.list(&folder);
        }
    }

    fn make_deep(&mut self) {
        let mut path = self.directory();
        for _ in 0..1 + self.random.below(3) {
            path = join(&path, &self.name());
        }
        self.make_at(&path);
    }

    fn list_some(&mut self) {
        let folder = self.directory();
        self.list(&folder);
    }

    fn link(&mut self) {
        if self.links.is_empty() {
            return self.make();
        }
        let target = self.random.of(&self.links.clone()).clone();
        let folder = self.directory();
        let path = join(&folder, &self.name());
        let written = if self.random.one_in(2) {
            [b"/", &target[..]].concat()
        } else {
            target
        };
        self.put(EntryType::Link, &path, &written, b"");
        self.note(&path, Kind::Other);
    }

    /// Another thing, of the same type or not, in place of one of any layer.
    fn replace(&mut self) {
        let all: Vec<_> = self.tree.keys().cloned().collect();
        if all.is_empty() {
            return self.make();
        }
        let path = self.random.of(&all).clone();
        if self.behind.iter().any(|behind| behind.starts_with(&path)) {
            return;
        }
        let before = self.tree[&path];
        let mut children = self.tree.clone();
        self.make_at(&path);
        if before == Kind::Directory && self.tree[&path] == Kind::Directory {
            return;
        }
        // Whatever was below is gone.
        children.retain(|other, _| other.starts_with(&join(&path, b"")));
        for child in children.into_keys() {
            self.tree.remove(&child);
            self.links.retain(|link| *link != child);
            self.ways
                .retain(|(link, target)| *link != child && *target != child);
        }
        self.ways
            .retain(|(_, target)| self.tree.get(target) == Some(&Kind::Directory));
    }

    /// A symbolic link to a directory.
    fn make_way(&mut self) {
        let target = self.directory();
        let folder = self.directory();
        let path = join(&folder, &self.name());
        let up = match folder.as_slice() {
            b"" => 0,
            folder => 1 + folder.iter().filter(|&&byte| byte == b'/').count(),
        };
        let written = match self.random.below(2) {
            0 => [b"/", &target[..]].concat(),
            _ => [&b"../".repeat(up)[..], b"./", &target].concat(),
        };
        self.put(EntryType::Symlink, &path, &written, b"");
        self.note(&path, Kind::Other);
        self.ways.push((path, target));
    }

    /// Something in a directory that only a link is named for.
    fn make_behind_link(&mut self) {
        if self.ways.is_empty() {
            return self.make_way();
        }
        let (link, target) = self.random.of(&self.ways.clone()).clone();
        let name = self.name();
        let (written, path) = (join(&link, &name), join(&target, &name));
        self.put(EntryType::Regular, &written, b"", &name);
        let ways = self.ways.clone();
        self.note(&path, Kind::Other);
        self.ways = ways;
        let mut above: &[u8] = &link;
        while above != b"" {
            self.own.insert(above.to_vec());
            above = parent(above);
        }
        self.behind.extend([link, path]);
    }

    fn white(&mut self, path: &[u8]) {
        let name = &path[path.len() - (path.len() - parent(path).len())
            + usize::from(!parent(path).is_empty())..];
        self.put_mark(&join(parent(path), &[b".wh.", name].concat()));
        self.forget(path);
    }

    fn delete(&mut self) {
        if let Some(path) = self.lower(None) {
            self.white(&path);
            // Nothing else in this layer comes back to the name.
            self.own.insert(path);
        }
    }

    fn delete_and_remake(&mut self) {
        if let Some(path) = self.lower(None) {
            self.white(&path);
            match self.random.below(3) {
                0 => {
                    let below = join(&path, &self.name());
                    self.make_at(&below);
                }
                _ => self.make_at(&path),
            }
        }
    }

    fn opaque(&mut self) {
        let Some(path) = self.lower(Some(Kind::Directory)) else {
            return;
        };
        let when = self.random.below(3);
        if when == 0 {
            self.list(&path);
        }
        self.put_mark(&join(&path, b".wh..wh..opq"));
        self.forget(&path);
        self.note(&path, Kind::Directory);
        for _ in 0..self.random.below(3) {
            let child = join(&path, &self.name());
            self.make_at(&child);
        }
        if when == 1 {
            self.list(&path);
        }
    }

    fn sparse(&mut self) {
        let folder = self.directory();
        let path = join(&folder, &self.name());
        let first = 4096 * self.random.below(40);
        let second = first + 5000 + self.random.below(200_000);
        let size = second + 700 + self.random.below(100_000);
        let map = format!("{first},3000,{second},700");
        let layer = self.layer.take().unwrap().pax(&[
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.map", map.as_bytes()),
            ("GNU.sparse.size", size.to_string().as_bytes()),
        ]);
        self.layer = Some(layer.raw(
            EntryType::Regular,
            &path,
            b"",
            &noise(3700, first as u64),
            |_| {},
        ));
        self.note(&path, Kind::Other);
        self.links.push(path);
    }

    fn delete_what_never_was(&mut self) {
        let folder = self.directory();
        let name = self.name();
        self.put_mark(&join(&folder, &[b".wh.", &name[..]].concat()));
    }
}

/// What is there, but for numbers of links, which layers cannot know of one another: files with one inode are
/// told together instead.
fn tree(root: &Path) -> Snapshot {
    let mut inodes: BTreeMap<(u64, u64), BTreeSet<String>> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    let name = |path: &Path| {
        path.strip_prefix(root)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .escape_ascii()
            .to_string()
    };
    while let Some(path) = todo.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            todo.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if meta.nlink() > 1 {
            inodes
                .entry((meta.dev(), meta.ino()))
                .or_default()
                .insert(name(&path));
        }
    }
    let mut tree = snapshot(root, true);
    for line in tree.values_mut() {
        if let Some((before, after)) = line.split_once(" links ") {
            *line = format!("{before}{}", &after[after.find(' ').unwrap()..]);
        }
    }
    for names in inodes.into_values().filter(|names| names.len() > 1) {
        for name in &names {
            tree.get_mut(name).unwrap().push_str(&format!(" {names:?}"));
        }
    }
    tree
}

/// Takes the times from directories that umoci gave the time of its own doing.
fn without_new_times(ours: &mut Snapshot, theirs: &mut Snapshot) {
    let time = |line: &str| {
        let at = line.find(" at ")? + 4;
        let end = line[at..].find(' ').map_or(line.len(), |end| at + end);
        Some((
            at - 4,
            end,
            line[at..end].split('.').next()?.parse::<i64>().ok()?,
        ))
    };
    for (path, their) in theirs {
        let Some((at, end, seconds)) = time(their).filter(|_| their.starts_with('4')) else {
            continue;
        };
        if seconds > LATEST as i64 {
            their.replace_range(at..end, "");
            if let Some(our) = ours.get_mut(path)
                && let Some((at, end, _)) = time(our)
            {
                our.replace_range(at..end, "");
            }
        }
    }
}

fn same_as_umoci(seed: u64, layers: usize, steps: usize, maxima: &[usize]) {
    let mut generator = Generator::new(seed);
    let layers: Vec<_> = (0..layers).map(|_| generator.layer(steps)).collect();
    println!("seed {seed}");
    if let Ok(folder) = std::env::var("RVM_TEST_KEEP") {
        for (index, layer) in layers.iter().enumerate() {
            std::fs::write(format!("{folder}/{index:03}.tar"), layer).unwrap();
        }
    }
    let folder = tempdir();
    let image = folder.path().join("layout");
    layout::simple(&image, &layers);
    let bundle = folder.path().join("bundle");
    run(
        "umoci",
        &[
            "unpack",
            "--image",
            &format!("{}:latest", str(&image)),
            str(&bundle),
        ],
    );
    let theirs = tree(&bundle.join("rootfs"));
    let store = Store::open(folder.path().join("store")).unwrap();
    store
        .load(&image, &LoadOptions::default())
        .unwrap_or_else(|err| panic!("seed {seed}: {}", chain(&err)));
    for &max in maxima {
        let images = store
            .layer_images(&store.resolve("test").unwrap(), max)
            .unwrap();
        assert!(images.len() <= max);
        for image in &images {
            run("fsck.erofs", &[str(&image.path)]);
        }
        let mut mounts = Mounts::new(&folder.path().join(format!("mounts-{max}")));
        let mut ours = tree(&mounts.overlay(&images));
        let mut theirs = theirs.clone();
        without_new_times(&mut ours, &mut theirs);
        println!(
            "seed {seed}, at most {max} file systems: {} names",
            ours.len()
        );
        assert_same(&ours, &theirs);
    }
}

fn seeds() -> std::ops::Range<u64> {
    let text = std::env::var("RVM_TEST_SEEDS").unwrap_or_else(|_| "0..4".to_owned());
    let (first, end) = text.split_once("..").unwrap();
    first.parse().unwrap()..end.parse().unwrap()
}

#[test]
fn twenty_layers_of_hard_cases() {
    if is_root("twenty_layers_of_hard_cases") {
        for seed in seeds() {
            same_as_umoci(seed, 20, 25, &[30, 8, 1]);
        }
    }
}

#[test]
fn a_hundred_and_twenty_seven_layers_of_hard_cases() {
    if is_root("a_hundred_and_twenty_seven_layers_of_hard_cases") {
        for seed in [126, 127] {
            same_as_umoci(seed, 127, 6, &[8, 1]);
        }
    }
}
