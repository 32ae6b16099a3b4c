//! An image is the same tree for everybody: what `rvm` pushed and umoci unpacked is what a container sees.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::needs_container;
use crate::support::Host;
use crate::support::image::Layout;
use crate::support::process::judge;
use crate::support::registry::Registry;

/// Type and permissions, owners, device numbers, links, times, sizes and contents of everything in the image. What a runtime
/// puts into every container is left out, and the times of folders that it may do so in. `/bin` is one
/// program under many names.
const LIST: &str = r#"
    cd /
    {
        find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./etc/hosts -o -path ./etc/hostname \
            -o -path ./etc/resolv.conf \) -prune -o -type d -exec stat -c "%n %f %u %g" {} + \
            -o -type f ! -path "./bin/*" -exec sha256sum {} + -exec stat -c "%n %f %u %g %h %s %Y" {} + \
            -o -type f -exec stat -c "%n %f %u %g %h %s %Y" {} + \
            -o -exec stat -c "%N %f %u %g %t %T %Y" {} +
        find ./srv -type d -exec stat -c "%n %Y" {} +
        sha256sum bin/busybox
    } | sort
"#;

/// A layer with what is lost easily.
fn lower(folder: &Path) {
    let put = |name: &str, content: &[u8], mode: u32, owner: u32| {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().expect("folder")).expect("folder");
        fs::write(&file, content).expect("file");
        chown(&file, Some(owner), Some(owner + 1)).expect("owner");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("mode");
    };
    put("srv/set-uid", b"#!/bin/sh\n", 0o4755, 0);
    put("srv/set-gid", &vec![7; 5_000], 0o2711, 1000);
    put("srv/private", b"secret", 0o600, 65_534);
    put(
        "srv/large",
        &(0..300_000_u32)
            .map(|i| (i.wrapping_mul(i) >> 7) as u8)
            .collect::<Vec<_>>(),
        0o640,
        3,
    );
    put("srv/empty", b"", 0o444, 4_000_000_000);
    put("srv/replaced", b"by the next layer", 0o644, 0);
    put("srv/gone/deeply/hidden", b"by the next layer", 0o644, 0);
    put("srv/opaque/below", b"not to be seen", 0o644, 0);
    put("srv/a name with spaces, and \u{fc}mlauts", b"x", 0o644, 12);
    fs::set_permissions(folder.join("srv/gone"), fs::Permissions::from_mode(0o1777)).expect("mode");
    fs::hard_link(folder.join("srv/large"), folder.join("srv/gone/link")).expect("link");
    fs::hard_link(folder.join("srv/large"), folder.join("srv/same")).expect("link");
    symlink("../no/such/target", folder.join("srv/dangling")).expect("link");
    symlink("/srv/large", folder.join("srv/absolute")).expect("link");
    for (name, kind) in [
        ("fifo", &["p"][..]),
        ("device", &["c", "1", "3"]),
        ("block", &["b", "7", "9"]),
    ] {
        let file = folder.join("srv").join(name);
        let mut command = std::process::Command::new("mknod");
        command.args(["-m", "640"]).arg(file).args(kind);
        assert!(command.status().expect("mknod").success());
    }
}

fn upper(folder: &Path) {
    fs::create_dir_all(folder.join("srv/gone/deeply")).expect("folder");
    fs::create_dir_all(folder.join("srv/opaque")).expect("folder");
    fs::write(folder.join("srv/replaced"), "and it was").expect("file");
    fs::write(folder.join("srv/gone/deeply/.wh.hidden"), "").expect("whiteout");
    fs::write(folder.join("srv/opaque/.wh..wh..opq"), "").expect("whiteout");
    fs::write(folder.join("srv/opaque/above"), "to be seen").expect("file");
    fs::write(folder.join("srv/.wh.empty"), "").expect("whiteout");
}

#[test]
fn what_umoci_unpacks_is_what_a_container_sees() {
    needs_container!();
    let (host, registry) = (Host::empty(), Registry::start());
    let layout = Layout::of_busybox(&host, "tree");
    for (name, make) in [("lower", lower as fn(&Path)), ("upper", upper)] {
        let folder = host.folder().join("tmp").join(name);
        fs::create_dir(&folder).expect("folder");
        make(&folder);
        let tar = folder.with_extension("tar");
        let (from, to) = (
            folder.to_str().expect("UTF-8"),
            tar.to_str().expect("UTF-8"),
        );
        judge("tar", ["-C", from, "--numeric-owner", "-cf", to, "srv"]);
        layout.add_layer(&tar);
    }
    let image = registry.name("tree:1");
    host.rvm(["load", "-q", "-i", layout.path()])
        .wait()
        .success();
    host.rvm(["tag", "tree", &image]).wait().success();
    host.rvm(["push", "-q", &image]).wait().success();
    assert_eq!(
        registry.inspect("tree:1", &[])["Layers"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );

    let copied = host.folder().join("tmp/copied").display().to_string();
    let bundle = host.folder().join("tmp/bundle");
    let from = format!("docker://{image}");
    judge(
        "skopeo",
        [
            "--insecure-policy",
            "copy",
            "-q",
            "--src-tls-verify=false",
            &from,
            &format!("oci:{copied}:it"),
        ],
    );
    let (it, to) = (format!("{copied}:it"), bundle.display().to_string());
    judge("umoci", ["unpack", "--rootless=false", "--image", &it, &to]);
    let root = bundle.join("rootfs").display().to_string();
    let theirs = judge("chroot", [&root, "/bin/sh", "-c", LIST]);
    let ours = host
        .rvm(["run", "--rm", "--network", "none", &image, "sh", "-c", LIST])
        .wait()
        .success();
    for name in [
        "srv/same",
        "srv/gone/link",
        "srv/opaque/above",
        "srv/block",
        "srv/dangling",
    ] {
        assert!(theirs.contains(&format!("./{name}")), "{theirs}");
    }
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}
