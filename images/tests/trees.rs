//! The tree that a container sees is the one that umoci unpacks: the kernel mounts ours, umoci writes theirs.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::layers::{gnu_tar, gzip, layer, noise};
use common::mounts::Mounts;
use common::snapshot::{Snapshot, assert_same, snapshot};
use common::{is_root, layout, run, str, tempdir};
use rvm_images::{LoadOptions, Store};
use tar::EntryType;

/// Loads `layers` and compares the mounted trees, one file system a layer and all in one, with umoci's.
fn same_as_umoci(test: &str, layers: &[Vec<u8>]) {
    compare(test, layers, true);
}

/// The same where a layer leaves directories out, whose times are then those of the unpacking.
fn same_but_directory_times(test: &str, layers: &[Vec<u8>]) {
    compare(test, layers, false);
}

fn compare(test: &str, layers: &[Vec<u8>], dir_times: bool) {
    if !is_root(test) {
        return;
    }
    let folder = tempdir();
    let image = folder.path().join("layout");
    layout::simple(&image, layers);
    let theirs = umoci(folder.path(), &image, dir_times);
    for max in [8, 1, 2] {
        let ours = ours(folder.path(), &image, max, dir_times);
        assert_same(&ours, &theirs);
    }
}

fn ours(folder: &Path, image: &Path, max: usize, dir_times: bool) -> Snapshot {
    let store = Store::open(folder.join("store")).unwrap();
    store
        .load(image, &LoadOptions::default())
        .unwrap_or_else(|err| panic!("{}", common::chain(&err)));
    let images = store
        .layer_images(&store.resolve("test").unwrap(), max)
        .unwrap();
    assert!(images.len() <= max);
    for image in &images {
        run("fsck.erofs", &[str(&image.path)]);
    }
    let mut mounts = Mounts::new(&folder.join(format!("mounts-{max}")));
    let at = mounts.overlay(&images);
    snapshot(&at, dir_times)
}

fn umoci(folder: &Path, image: &Path, dir_times: bool) -> Snapshot {
    let bundle = folder.join("bundle");
    run(
        "umoci",
        &[
            "unpack",
            "--image",
            &format!("{}:latest", str(image)),
            str(&bundle),
        ],
    );
    snapshot(&bundle.join("rootfs"), dir_times)
}

#[test]
fn files_of_every_kind() {
    let deep = (0..60)
        .map(|i| format!("level-{i:02}"))
        .collect::<Vec<_>>()
        .join("/");
    let mut tar = layer()
        .dir_as("./", 0o755, 0, 0)
        .dir("etc")
        .file_as("etc/shadow", "root:*", 0o640, 0, 42)
        .file_as("etc/su", "#!", 0o6755, 0, 0)
        .dir_as("tmp/", 0o1777, 0, 0)
        .file_as("etc/big-owner", "x", 0o600, 4_000_000, 2_000_000_000)
        .symlink("link", "etc/shadow")
        .symlink("long-link", &"x/".repeat(1500))
        .device(EntryType::Char, "null", 1, 3)
        .device(EntryType::Block, "disk", 259, 70_000)
        .fifo("pipe")
        .file("empty", "")
        .raw(
            EntryType::Regular,
            b"not-\xff\xfe-utf8",
            b"",
            b"bytes",
            |_| {},
        )
        .raw(EntryType::Directory, b"dir-\x80", b"", b"", |_| {})
        .raw(
            EntryType::Regular,
            b"dir-\x80/\x01\n",
            b"",
            b"bytes",
            |_| {},
        )
        .file(&"n".repeat(255), "longest name");
    let mut path = String::new();
    for name in deep.split('/') {
        path += &format!("{name}/");
        tar = tar.dir(&path);
    }
    tar = tar.file(&format!("{path}deepest"), "here");
    same_as_umoci("files_of_every_kind", &[tar.done()]);
}

#[test]
fn files_of_every_size() {
    let mut tar = layer().dir("./");
    for (i, size) in [1, 4095, 4096, 4097, 8192, 131_071, 131_073, 3 << 20]
        .into_iter()
        .enumerate()
    {
        tar = tar.file(&format!("size-{size}"), noise(size, i as u64));
    }
    same_as_umoci("files_of_every_size", &[tar.done()]);
}

#[test]
fn times_before_1970_after_2038_and_between_seconds() {
    let tar = layer()
        .dir("./")
        .pax(&[("mtime", b"-86400")])
        .file("before", "")
        .pax(&[("mtime", b"-1.25")])
        .file("just-before", "")
        .pax(&[("mtime", b"4102444800.5")])
        .file("after", "")
        .pax(&[("mtime", b"1600000000.123456789")])
        .file("between", "");
    same_as_umoci("times", &[tar.done()]);
}

#[test]
fn hard_links_across_directories() {
    let tar = layer()
        .dir("./")
        .dir("a")
        .dir("b")
        .file("a/one", "content")
        .link("b/two", "a/one")
        .link("three", "./b/two")
        .symlink("a/sym", "one")
        .link("sym-too", "a/sym")
        .device(EntryType::Char, "zero", 1, 5)
        .link("b/zero", "/zero")
        // The others keep what they have.
        .file("a/one", "replaced");
    same_as_umoci("hard_links", &[tar.done()]);
}

#[test]
fn directories_of_every_size() {
    let mut tar = layer()
        .dir("./")
        .dir("many")
        .dir("few")
        .dir("full")
        .dir("long");
    for i in 0..5000 {
        tar = tar.file(&format!("many/name-{i}"), "");
    }
    // Sort before `.` and `..`.
    for name in ["!", "+", "-", "-a", ",", " ", "...", ".a", "..a"] {
        tar = tar.file(&format!("few/{name}"), "");
    }
    // `.` and `..` take 27 bytes of a block: 226 names of 6 bytes fill it to the last but one.
    for i in 0..226 {
        tar = tar.file(&format!("full/{i:06}"), "");
    }
    for i in 0..40 {
        tar = tar.file(&format!("long/{}{i:03}", "l".repeat(252)), "");
    }
    same_as_umoci("directories_of_every_size", &[tar.done()]);
}

#[test]
fn extended_attributes() {
    // cap_net_raw+ep; the line feed would end a PAX record that is not taken by its length.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, b'\n', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let acl = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xe8, 3, 0, 0, 4, 0, 4, 0, 255,
        255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
    ];
    let tar = layer()
        .dir("./")
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .file_as("ping", "elf", 0o755, 0, 0)
        .pax(&[
            ("SCHILY.xattr.user.a", b"1"),
            ("SCHILY.xattr.user.b=c", b"2\n3=4"),
            ("SCHILY.xattr.trusted.t", b"\0"),
        ])
        .file("several", "x")
        .pax(&[("SCHILY.xattr.user.large", &noise(2500, 3))])
        .file("large", "x")
        .pax(&[("SCHILY.xattr.user.dir", b"on a directory")])
        .dir("dir")
        .pax(&[("SCHILY.xattr.trusted.link", b"on a link")])
        .symlink("link", "several")
        .pax(&[("SCHILY.xattr.system.posix_acl_access", &acl)])
        .file_as("acl", "x", 0o644, 0, 0);
    same_as_umoci("extended_attributes", &[tar.done()]);
}

#[test]
fn whiteouts_delete_from_lower_layers_only() {
    let base = layer()
        .dir("./")
        .dir("gone")
        .file("gone/a", "a")
        .dir("gone/deep")
        .file("gone/deep/b", "b")
        .dir("opaque")
        .file("opaque/old", "old")
        .dir("opaque/sub")
        .file("opaque/sub/old", "old")
        .dir("kept")
        .file("kept/old", "old")
        .file("kept/other", "other")
        .dir("renewed")
        .file("renewed/old", "old")
        .file("file", "old")
        .file("file-late", "old")
        .file("single", "old")
        .done();
    let upper = layer()
        .dir("./")
        .file(".wh.gone", "")
        .dir("opaque")
        .file("opaque/new", "new")
        .file("opaque/.wh..wh..opq", "")
        .dir("opaque/sub")
        .file("opaque/sub/new", "new")
        .dir("kept")
        .file("kept/.wh.old", "")
        .file("kept/.wh.never-was", "")
        .file(".wh.renewed", "")
        .dir("renewed")
        .file("renewed/new", "new")
        .file(".wh.file", "")
        .file("file", "new")
        .file("file-late", "new")
        .file(".wh.file-late", "")
        .file(".wh.single", "")
        .done();
    let top = layer()
        .dir("./")
        .dir("gone")
        .file("gone/again", "again")
        .dir("opaque")
        .file("opaque/newest", "newest")
        .file("opaque/.wh.new", "")
        .done();
    same_as_umoci("whiteouts", &[base.clone(), upper.clone()]);
    same_as_umoci("whiteouts", &[base, upper, top]);
}

#[test]
fn a_whiteout_spares_its_own_layer_wherever_it_stands() {
    let base = layer()
        .dir("./")
        .dir("late")
        .file("late/old", "old")
        .dir("late/sub")
        .file("late/sub/old", "old")
        .done();
    let upper = layer()
        .dir("./")
        .dir("late")
        .file("late/new", "new")
        .dir("late/sub")
        .file("late/sub/new", "new")
        .file(".wh.late", "")
        .done();
    // umoci deletes after it has set the directory's time.
    same_but_directory_times("late_whiteout", &[base, upper]);
}

#[test]
fn what_changes_its_type_between_layers() {
    let base = layer()
        .dir("./")
        .dir("dir-to-file")
        .file("dir-to-file/a", "a")
        .file("file-to-dir", "x")
        .dir("dir-to-link")
        .file("dir-to-link/a", "a")
        .symlink("link-to-dir", "elsewhere")
        .dir("elsewhere")
        .file("elsewhere/a", "a")
        .fifo("fifo-to-device")
        .done();
    let upper = layer()
        .dir("./")
        .file("dir-to-file", "now a file")
        .dir("file-to-dir")
        .file("file-to-dir/b", "b")
        .symlink("dir-to-link", "elsewhere")
        .dir("link-to-dir")
        .file("link-to-dir/b", "b")
        .device(EntryType::Char, "fifo-to-device", 5, 0)
        .done();
    same_as_umoci("types", &[base, upper]);
}

#[test]
fn what_changes_its_type_within_a_layer() {
    let base = layer()
        .dir("./")
        .dir("a")
        .file("a/lower", "x")
        .dir("b")
        .file("b/lower", "x")
        .done();
    let upper = layer()
        .dir("./")
        .file("a", "file")
        .dir("a")
        .file("a/upper", "x")
        .dir("b")
        .file("b/upper", "x")
        .file("b", "at last a file")
        .dir("c")
        .file("c/one", "x")
        .symlink("c", "a")
        .dir("c")
        .file("c/two", "x")
        .dir_as("d", 0o700, 1, 1)
        .file("d/keeps", "x")
        .dir_as("d", 0o711, 2, 2)
        .file("e", "one")
        .file("e", "two")
        .done();
    same_as_umoci("types_within", &[base, upper]);
}

#[test]
fn names_are_taken_from_the_root() {
    let tar = layer()
        .dir("./")
        .dir("/absolute")
        .file("/absolute/file", "x")
        .dir("./a//b/./")
        .file("a/./b//c", "x");
    same_but_directory_times("names", &[tar.done()]);
}

#[test]
fn symbolic_links_in_a_path_stay_in_the_root() {
    let tar = layer()
        .dir("./")
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .file("lib/through", "x")
        .symlink("abs", "/usr")
        .file("abs/through", "x")
        .symlink("up", "../../../../usr/lib")
        .file("up/out", "x")
        .symlink("usr/lib/back", "../..")
        .file("usr/lib/back/in-root", "x")
        .symlink("dangling", "not/there")
        .file("dangling/made", "x");
    same_but_directory_times("symlinks", &[tar.done()]);
}

#[test]
fn missing_directories_are_made() {
    let tar = layer()
        .dir("./")
        .file("usr/share/doc/x/copyright", "x")
        .dir_as("usr/share", 0o711, 3, 4);
    same_but_directory_times("missing", &[tar.done()]);
}

#[test]
fn a_directory_that_a_layer_does_not_list_stays_as_it_is_below() {
    let base = |mode, owner| {
        layer()
            .dir_as("./", 0o711, 3, 4)
            .pax(&[("SCHILY.xattr.user.note", b"kept")])
            .dir_as("home", mode, owner, 1001)
            .dir_as("home/user", 0o700, owner, owner)
            .file("home/user/old", "x")
            .dir_as("opaque", 0o1770, owner, 7)
            .file("opaque/old", "x")
            .dir_as("remade", 0o700, 9, 9)
            .done()
    };
    let upper = layer()
        .file("home/user/new", "x")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "x")
        .file(".wh.remade", "")
        .file("remade/new", "x")
        .file("home/.wh.never-was", "")
        .done();
    let top = layer().file("home/user/newest", "x").done();
    // The directory made anew has the time of the unpacking.
    let layers = [base(0o750, 1000), upper.clone(), top.clone()];
    same_but_directory_times("not_listed", &layers);
    same_as_umoci("not_listed", &[layers[0].clone(), top.clone()]);

    // Images with other directories below still share the layers above.
    let folder = tempdir();
    let store = Store::open(folder.path().join("store")).unwrap();
    let mut systems = Vec::new();
    for (name, owner) in [("one", 1000), ("two", 2000)] {
        let layers = [base(0o750, owner), upper.clone(), top.clone()];
        let layers = layers.map(|tar| (layout::TAR.to_owned(), tar.clone(), tar));
        let image = folder.path().join(name);
        let manifest = layout::image(&image, &layers);
        layout::index(&image, vec![layout::with_name(manifest, name)]);
        store.load(&image, &LoadOptions::default()).unwrap();
        let images = store
            .layer_images(&store.resolve(name).unwrap(), 8)
            .unwrap();
        systems.push(
            images
                .into_iter()
                .map(|image| image.path)
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!((systems[0].len(), systems[1].len()), (4, 4));
    assert_ne!(systems[0][0], systems[1][0]);
    assert_eq!(systems[0][1..3], systems[1][1..3]);
    // What is on top goes with its image.
    store.remove("one").unwrap();
    assert!(!systems[0][0].exists() && systems[1][0].exists() && systems[0][1].exists());
}

#[test]
fn links_of_lower_layers_are_followed() {
    let base = layer()
        .dir("./")
        .dir("usr")
        .dir_as("usr/lib", 0o750, 5, 6)
        .file("usr/lib/libc.so", "old")
        .file("usr/lib/gone.so", "x")
        .symlink("lib", "usr/lib")
        .symlink("absolute", "/usr/lib")
        .symlink("up", "../../usr")
        .symlink("usr/lib/self", "../lib")
        .symlink("dangling", "not/there")
        .symlink("replaced", "usr")
        .done();
    let upper = layer()
        .file("lib/libc.so", "new")
        .file("lib/.wh.gone.so", "")
        .file("absolute/one.so", "x")
        .file("up/lib/self/two.so", "x")
        .file("dangling/made", "x")
        .dir("replaced")
        .file("replaced/file", "x")
        .done();
    let top = layer().dir("./").file("lib/top.so", "x").done();
    let other = layer().dir("./").file("top", "x").done();
    same_but_directory_times("links", &[base.clone(), upper.clone()]);
    same_but_directory_times("links", &[base.clone(), upper.clone(), top]);
    same_but_directory_times(
        "links",
        &[base.clone(), other.clone(), upper.clone(), other.clone()],
    );

    // Only what has to be is merged.
    let folder = tempdir();
    let image = folder.path().join("layout");
    layout::simple(
        &image,
        &[base, upper, other.clone(), layer().dir("./").done()],
    );
    let store = Store::open(folder.path().join("store")).unwrap();
    store.load(&image, &LoadOptions::default()).unwrap();
    let found = store.resolve("test").unwrap();
    for _ in 0..2 {
        assert_eq!(store.layer_images(&found, 8).unwrap().len(), 3);
    }
    store.remove("test").unwrap();
    let left = std::fs::read_dir(folder.path().join("store/layers")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn whiteouts_of_nothing_do_not_show() {
    let base = layer().dir("./").dir("a").file("a/file", "x").done();
    let upper = layer()
        .dir("./")
        .dir("new")
        .file("new/.wh.never-was", "")
        .file("new/file", "x")
        .file("a/.wh.file", "")
        .file(".wh.a", "")
        .file("gone/.wh.file", "")
        .file(".wh.gone", "")
        .file(".wh.gone-too", "")
        .file("gone-too/.wh.file", "")
        .done();
    same_as_umoci("whiteouts_of_nothing", &[base, upper]);
}

#[test]
fn sparse_files_in_all_formats() {
    let folder = tempdir();
    let file = std::fs::File::create(folder.path().join("sparse")).unwrap();
    use std::os::unix::fs::FileExt;
    for i in 0..30u64 {
        file.write_all_at(&noise(5000, i), i * 200_000 + 12_288)
            .unwrap();
    }
    file.set_len(40 << 20).unwrap();
    std::fs::File::create(folder.path().join("all-hole"))
        .unwrap()
        .set_len(10 << 20)
        .unwrap();
    std::fs::write(folder.path().join("plain"), "x").unwrap();
    run(
        "find",
        &[
            str(folder.path()),
            "-exec",
            "touch",
            "-d",
            "@1600000000",
            "{}",
            "+",
        ],
    );
    run("chmod", &["755", str(folder.path())]);
    for options in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let tar = gnu_tar(folder.path(), &[&["--sparse"], options].concat());
        assert!(tar.len() < 1 << 20, "it is sparse");
        let tar_is_gnu = options == ["--format=gnu"];
        if is_root("sparse") {
            let work = tempdir();
            let image = work.path().join("layout");
            layout::simple(&image, &[tar]);
            let theirs = snapshot(folder.path(), false);
            assert_same(&ours(work.path(), &image, 1, false), &theirs);
            if !tar_is_gnu {
                // umoci does not know the type flag of the others.
                assert_same(&umoci(work.path(), &image, false), &theirs);
            }
        }
    }
}

#[test]
fn a_host_folder_in_all_formats() {
    let folder = tempdir();
    run(
        "cp",
        &[
            "-a",
            "/etc/alternatives",
            "/etc/default",
            "/usr/share/perl5",
            str(folder.path()),
        ],
    );
    let long = folder.path().join("d".repeat(120)).join("e".repeat(130));
    std::fs::create_dir_all(&long).unwrap();
    std::fs::write(long.join("f".repeat(200)), "x").unwrap();
    for format in ["--format=gnu", "--format=posix"] {
        same_as_umoci("formats", &[gnu_tar(folder.path(), &[format])]);
    }
}

#[test]
fn a_hundred_and_twenty_seven_layers() {
    let layers: Vec<_> = (0..127)
        .map(|i| {
            let mut tar = layer()
                .dir("./")
                .dir("log")
                .file(&format!("log/{i}"), format!("{i}"))
                .file("last", format!("{i}"));
            if i % 3 == 2 {
                tar = tar.file(&format!("log/.wh.{}", i - 1), "");
            }
            tar.done()
        })
        .collect();
    same_as_umoci("127", &layers);
}

#[test]
fn every_compression_gives_the_same_tree() {
    let folder = tempdir();
    let tar = layer().dir("./").file("a", noise(100_000, 9)).done();
    let digests: Vec<_> = [
        ("", tar.clone()),
        ("+gzip", gzip(&tar)),
        ("+zstd", zstd::encode_all(&tar[..], 3).unwrap()),
        // Mislabelled, as some registries' layers are.
        ("+zstd", gzip(&tar)),
    ]
    .into_iter()
    .enumerate()
    .map(|(i, (suffix, blob))| {
        let image = folder.path().join(format!("layout-{i}"));
        let manifest = layout::image(
            &image,
            &[(format!("{}{suffix}", layout::TAR), blob, tar.clone())],
        );
        layout::index(&image, vec![layout::with_name(manifest, "test:1")]);
        let store = Store::open(folder.path().join(format!("store-{i}"))).unwrap();
        store.load(&image, &LoadOptions::default()).unwrap();
        let layers = store
            .layer_images(&store.resolve("test:1").unwrap(), 9)
            .unwrap();
        rvm_images::Digest::of(&std::fs::read(&layers[0].path).unwrap())
    })
    .collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}
