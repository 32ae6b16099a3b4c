//! Damaged and hostile images are refused, and the store is as it was.

use std::fs;
use std::path::Path;

use crate::support::Host;
use crate::support::image::Layout;
use crate::support::process::judge;
use crate::support::snapshot::Snapshot;

fn refused(host: &Host, image: &Path, words: &[&str]) {
    let before = Snapshot::of(host);
    let path = image.to_str().expect("UTF-8");
    host.rvm(["load", "-q", "-i", path])
        .wait()
        .refused(1, words);
    before.assert_unchanged(host);
}

#[test]
fn damaged_archives_are_refused_and_leave_the_store_unchanged() {
    let host = Host::private();
    let file = |name: &str| host.folder().join("tmp").join(name);
    let whole = fs::read(crate::support::archive("busybox")).expect("archive");

    for (name, length) in [
        ("early", 700),
        ("middle", whole.len() / 2),
        ("late", whole.len() - 20_000),
    ] {
        let path = file(name);
        fs::write(&path, &whole[..length]).expect("file");
        refused(&host, &path, &[]);
        // From standard input too.
        let before = Snapshot::of(&host);
        host.rvm(["load"])
            .wait_with(&whole[..length])
            .refused(1, &[]);
        before.assert_unchanged(&host);
    }

    let path = file("text");
    fs::write(&path, "this is no archive\n").expect("file");
    refused(&host, &path, &[]);
    refused(&host, &file("not-there"), &["not-there"]);

    // One bit of the layer is not what its digest says.
    let layout = Layout::of_busybox(&host, "flipped");
    let blob = layout.blob(&layout.layer());
    let mut content = fs::read(&blob).expect("blob");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&blob, &content).expect("blob");
    refused(&host, layout.folder.as_path(), &["sha256:"]);
    refused(&host, &layout.archive(), &["sha256:"]);

    // A blob is missing.
    let layout = Layout::of_busybox(&host, "incomplete");
    fs::remove_file(layout.blob(&layout.layer())).expect("blob");
    refused(&host, layout.folder.as_path(), &["sha256:"]);
}

#[test]
fn paths_that_climb_out_are_refused() {
    let host = Host::private();
    let folder = host.folder().join("tmp");
    let (inside, secret) = (folder.join("inside"), folder.join("secret"));
    fs::create_dir(&inside).expect("folder");
    fs::write(inside.join("file"), "from outside").expect("file");
    fs::write(&secret, "not for images").expect("file");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let tar = |name: &str, options: &[&str]| {
        let path = folder.join(name);
        let mut all = vec![
            "-cPf".to_owned(),
            text(&path),
            "-C".to_owned(),
            text(&inside),
        ];
        all.extend(options.iter().map(|option| (*option).to_owned()));
        host.judge("tar", &all.iter().map(String::as_str).collect::<Vec<_>>());
        path
    };

    // A layer with a file above its root, and one with a hard link to a file above its root.
    let climbing = tar(
        "climbing.tar",
        &[
            "--transform=s,^file,../../../../../../../../tmp/rvm-test-climbed,",
            "file",
        ],
    );
    let link = folder.join("link.tar");
    let make_link = "import sys, tarfile
t = tarfile.open(sys.argv[1], 'w'); i = tarfile.TarInfo('linked'); i.type = tarfile.LNKTYPE; i.linkname = '../../../..' + sys.argv[2]; t.addfile(i); t.close()";
    host.judge("python3", &["-c", make_link, &text(&link), &text(&secret)]);
    for (name, layer) in [("climbing", climbing), ("linking", link)] {
        let layout = Layout::of_busybox(&host, name);
        layout.replace_layer(&layer);
        refused(&host, layout.folder.as_path(), &[".."]);
        refused(&host, &layout.archive(), &[".."]);
    }
    assert!(!Path::new("/tmp/rvm-test-climbed").exists());

    // An archive with a member above its root.
    let layout = Layout::of_busybox(&host, "outer");
    let archive = layout.archive();
    judge(
        "tar",
        [
            "-rPf",
            &text(&archive),
            "-C",
            &text(&inside),
            "--transform=s,^file,../rvm-test-climbed,",
            "file",
        ],
    );
    refused(&host, &archive, &[".."]);
}
