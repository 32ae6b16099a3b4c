//! Images are listed, named and removed as with Docker.

use crate::needs_container;
use crate::support::image::Layout;
use crate::support::{Container, Host};

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn images_are_listed_in_dockers_columns_by_templates_and_filters() {
    let host = Host::empty();
    let image = |name: &str, created: &str, label: &str| {
        let created = format!("--created={created}");
        let label = format!("--config.label=kind={label}");
        let layout = Layout::of_busybox(&host, name).configure(&[&created, &label]);
        host.rvm(["load", "-q", "-i", layout.path()])
            .wait()
            .success();
    };
    image("older", "2020-02-03T04:05:06Z", "a");
    image("newer", "2021-02-03T04:05:06Z", "b");
    host.rvm(["tag", "older", "registry.example:5000/team/older:v1"])
        .wait()
        .success();
    let rvm = |args: &[&str]| host.rvm(args.to_vec()).wait().success();
    let id = rvm(&["image", "inspect", "--format", "{{.Id}}", "older"]);
    let id = id.trim();
    let age = rvm(&["images", "--format", "{{.CreatedSince}}", "older"]);
    let size = rvm(&["images", "--format", "{{.Size}}", "older"]);
    // The widths are those of Docker: three blanks behind the longest cell, ten columns at least.
    let table = rvm(&["images"]);
    let heading = "REPOSITORY                         TAG       IMAGE ID       CREATED       SIZE";
    let row = |repository: &str, tag: &str| {
        let (age, size) = (age.trim(), size.trim());
        format!("{repository:35}{tag:10}{:15}{age:14}{size}", &id[7..19])
    };
    let rows = lines(&table);
    assert_eq!(rows[0], heading);
    assert!(rows[1].starts_with("newer "), "{table}");
    let names = [
        row("older", "latest"),
        row("registry.example:5000/team/older", "v1"),
    ];
    assert_eq!(rows[2..], names);
    assert_eq!(rvm(&["image", "ls"]), table);
    assert_eq!(rvm(&["image", "list", "--all"]), table);

    let all = [
        "newer latest",
        "older latest",
        "registry.example:5000/team/older v1",
    ];
    let listed = |args: &[&str]| {
        let args = [&["images", "--format", "{{.Repository}} {{.Tag}}"], args].concat();
        rvm(&args)
    };
    assert_eq!(lines(&listed(&[])), all);
    for (filters, found) in [
        (&["older"][..], &all[1..2]),
        (&["older:v1"], &[]),
        (&["--filter", "reference=*old*"], &all[1..2]),
        (&["-f", "reference=*/*/old[a-z]r"], &all[2..]),
        (&["-f", "label=kind"], &all[..]),
        (&["-f", "label=kind=a"], &all[1..]),
        (&["-f", "before=newer"], &all[1..]),
        (&["-f", "since=older"], &all[..1]),
        (&["-f", "until=2020-12-31"], &all[1..]),
        (&["-f", "dangling=true"], &[]),
        (&["-f", "dangling=false", "-f", "label=kind=b"], &all[..1]),
    ] {
        assert_eq!(lines(&listed(filters)), found, "{filters:?}");
    }
    let own = rvm(&[
        "images",
        "--format",
        r"table {{.ID}}\t{{.Tag}}\t{{.CreatedAt}}",
        "older",
    ]);
    let expected = [
        "IMAGE ID       TAG       CREATED AT".to_owned(),
        format!("{}   latest    2020-02-03 04:05:06 +0000 UTC", &id[7..19]),
    ];
    assert_eq!(lines(&own), expected);
    let json = rvm(&["images", "--format", "json", "--no-trunc", "older"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        [&json["Repository"], &json["Tag"], &json["ID"]],
        ["older", "latest", id]
    );
    assert_eq!(json["Digest"], "<none>");
    assert_eq!(
        rvm(&["images", "-q", "--no-trunc", "older"]),
        format!("{id}\n")
    );
    let digests = rvm(&["images", "--digests", "older"]);
    assert!(
        digests.contains("TAG       DIGEST    IMAGE ID"),
        "{digests}"
    );
    for (args, words) in [
        (
            ["images", "--filter", "older"],
            "bad format of filter (expected name=value)",
        ),
        (
            ["images", "--filter", "colour=red"],
            "invalid filter 'colour'",
        ),
        (["images", "--format", "{{.Nothing}}"], "Nothing"),
        (
            ["images", "--format", "{{nothing}}"],
            "function \"nothing\" not defined",
        ),
    ] {
        host.rvm(args).wait().refused(1, &[words]);
    }
    let history = rvm(&["history", "--format", "{{.ID}} {{.Size}}", "older"]);
    assert!(
        history.starts_with(&format!("{} ", &id[7..19])),
        "{history}"
    );
}

#[test]
fn names_go_before_their_image_and_an_image_with_its_last_name() {
    let host = Host::empty().load(&["busybox", "nginx"]);
    let rvm = |args: &[&str]| host.rvm(args.to_vec()).wait();
    let id = |image: &str| {
        let format = ["image", "inspect", "--format", "{{.Id}}", image];
        host.rvm(format).wait().success().trim().to_owned()
    };
    let (busybox, nginx) = (id("busybox"), id("nginx"));
    rvm(&["tag", "busybox", "second:1"]).success();
    rvm(&["tag", &busybox[7..15], "third"]).success();
    assert_eq!(rvm(&["rmi", "second:1"]).success(), "Untagged: second:1\n");
    rvm(&["rmi", &busybox[7..19]]).refused(
        1,
        &["must be forced", "referenced in multiple repositories"],
    );
    // One that fails keeps nothing of the others back.
    let mixed = rvm(&["rmi", "third", "no-such-image", "nginx"]);
    assert_eq!(mixed.code(), 1);
    assert_eq!(
        mixed.text(),
        format!("Untagged: third:latest\nUntagged: nginx:latest\nDeleted: {nginx}\n")
    );
    assert_eq!(
        mixed.errors(),
        "rvm: No such image: no-such-image:latest.\n"
    );
    let forced = rvm(&["rmi", "-f", "no-such-image"]);
    assert_eq!((forced.code(), forced.text()), (0, String::new()));
    let gone = rvm(&["image", "rm", &busybox[7..19]]).success();
    assert_eq!(
        gone,
        format!("Untagged: busybox:latest\nDeleted: {busybox}\n")
    );
    assert_eq!(rvm(&["images", "-q"]).success(), "");
    let left = |folder: &str| {
        std::fs::read_dir(host.root().join(folder))
            .expect("folder")
            .count()
    };
    assert_eq!((left("content/blobs/sha256"), left("layers")), (0, 0));
}

#[test]
fn an_image_is_not_removed_from_under_its_containers() {
    needs_container!();
    let host = Host::empty().load(&["busybox"]);
    let rvm = |args: &[&str]| host.rvm(args.to_vec()).wait();
    let id = rvm(&["images", "-q", "--no-trunc"])
        .success()
        .trim()
        .to_owned();
    let short = &id[7..19];
    let run = ["run", "-d", "--network", "none", "busybox", "sleep", "1000"];
    let container = Container::started(&host, rvm(&run).success());
    let user = &container.id[..12];
    rvm(&["rmi", "busybox"]).refused(
        1,
        &[
            "conflict: unable to remove repository reference \"busybox:latest\" (must force)",
            user,
            short,
        ],
    );
    for args in [
        &["rmi", short][..],
        &["rmi", "-f", short],
        &["rmi", "-f", "busybox"],
    ] {
        let words = [
            "(cannot be forced) - image is being used by running container",
            user,
        ];
        rvm(args).refused(1, &words);
    }
    // Nor is it pruned, and its disk space is not to be had.
    let pruned = rvm(&["image", "prune", "-af"]).success();
    assert_eq!(pruned, "Total reclaimed space: 0B\n");
    let format = [
        "system",
        "df",
        "--format",
        "{{.Type}} {{.TotalCount}} {{.Active}} {{.Reclaimable}}",
    ];
    let usage = rvm(&format).success();
    assert_eq!(
        lines(&usage)[..2],
        ["Images 1 1 0B (0%)", "Containers 1 1 0B (0%)"]
    );

    rvm(&["stop", "-t", "0", &container.id]).success();
    rvm(&["rmi", short]).refused(
        1,
        &[
            "(must be forced) - image is being used by stopped container",
            user,
        ],
    );
    rvm(&["image", "prune", "-af"]).success();
    assert_eq!(
        rvm(&["rmi", "-f", "busybox"]).success(),
        "Untagged: busybox:latest\n"
    );
    assert_eq!(
        lines(&rvm(&["images", "--format", "{{.Repository}} {{.ID}}"]).success()),
        [format!("<none> {short}")]
    );
    // The container has its image still; with the container goes the image too.
    let verbose = rvm(&["system", "df", "-v"]).success();
    assert!(
        verbose.contains("Containers space usage:\n\nCONTAINER ID "),
        "{verbose}"
    );
    assert!(
        verbose.contains(user) && verbose.contains("LOCAL VOLUMES"),
        "{verbose}"
    );
    let all = rvm(&["system", "prune", "-f"]).success();
    let (deleted, total) = all
        .split_once("\n\nTotal reclaimed space: ")
        .expect("a total");
    assert_eq!(
        deleted,
        format!(
            "Deleted Containers:\n{}\n\nDeleted Images:\ndeleted: {id}",
            container.id
        )
    );
    assert!(total.ends_with("MB\n"), "{all}");
    assert_eq!(
        rvm(&["ps", "-aq"]).success() + &rvm(&["images", "-q"]).success(),
        ""
    );
}

#[test]
fn pruning_asks_first_and_tells_what_is_free_again() {
    let host = Host::empty();
    let load = |name: &str, label: &str| {
        let layout = Layout::of_busybox(&host, name).configure(&["--config.label", label]);
        host.rvm(["load", "-q", "-i", layout.path()])
            .wait()
            .success();
    };
    load("kept", "keep=yes");
    load("old", "keep=no");
    load("new", "keep=never");
    let rvm = |args: &[&str], input: &str| {
        host.rvm(args.to_vec())
            .wait_with(input.as_bytes())
            .success()
    };
    // A name that moves on leaves an image without one.
    rvm(&["tag", "new", "old"], "");
    let question =
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ";
    for no in ["", "n\n", "yes\n"] {
        assert_eq!(rvm(&["image", "prune"], no), question);
    }
    assert_eq!(
        rvm(&["images", "-q", "-f", "dangling=true"], "")
            .lines()
            .count(),
        1
    );
    let pruned = rvm(&["image", "prune"], "y\n");
    let rest = pruned.strip_prefix(question).expect("the question");
    assert!(
        rest.starts_with("Deleted Images:\ndeleted: sha256:")
            && rest.contains("\n\nTotal reclaimed space: "),
        "{rest}"
    );
    assert_eq!(
        rvm(&["images", "--format", "{{.Repository}}"], "")
            .lines()
            .count(),
        3
    );

    let filter = ["image", "prune", "-a", "-f", "--filter", "label!=keep=yes"];
    let pruned = rvm(&filter, "");
    assert!(
        pruned.contains("untagged: new:latest\n") && pruned.contains("untagged: old:latest\n"),
        "{pruned}"
    );
    assert_eq!(
        rvm(&["images", "--format", "{{.Repository}}"], ""),
        "kept\n"
    );
    assert_eq!(
        rvm(
            &["image", "prune", "-af", "--filter", "until=1970-01-02"],
            ""
        ),
        "Total reclaimed space: 0B\n"
    );
    let asked = rvm(&["system", "prune", "-a", "--filter", "label=none"], "n\n");
    assert_eq!(
        asked,
        "WARNING! This will remove:\n  - all stopped containers\n  - all images without at least one container associated to them\n\n  \
         Items to be pruned will be filtered with:\n  - label=none\n\nAre you sure you want to continue? [y/N] "
    );
    let usage = rvm(&["system", "df"], "");
    assert!(usage.starts_with("TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\nImages          1         0         "), "{usage}");
    assert!(
        usage.contains("(100%)\nContainers      0         0         0B        0B\n"),
        "{usage}"
    );
    let all = rvm(&["system", "prune", "--all", "--force"], "");
    let size = usage.split_whitespace().nth(8).expect("a size");
    assert!(
        all.ends_with(&format!("\n\nTotal reclaimed space: {size}\n")),
        "{all}{usage}"
    );
    host.rvm(["image", "prune", "-f", "--filter", "colour=red"])
        .wait()
        .refused(1, &["invalid filter 'colour'"]);
}

#[test]
fn a_tarball_becomes_an_image() {
    let host = Host::empty();
    let folder = host.folder().join("tmp/tree");
    std::fs::create_dir_all(folder.join("etc")).expect("folder");
    std::fs::write(folder.join("etc/greeting"), "hello\n").expect("file");
    let tar = folder.with_extension("tar");
    let (from, to) = (
        folder.to_str().expect("UTF-8"),
        tar.to_str().expect("UTF-8"),
    );
    host.judge("tar", &["-C", from, "-cf", to, "."]);
    let options = [
        "import",
        "-c",
        "CMD [\"cat\", \"/etc/greeting\"]",
        "-c",
        "ENV A=b",
        "-m",
        "by hand",
        to,
        "hand:made",
    ];
    let id = host.rvm(options).wait().success();
    let format = [
        "image",
        "inspect",
        "--format",
        "{{.Id}} {{json .Config.Cmd}} {{.Config.Env}}",
        "hand:made",
    ];
    let inspected = host.rvm(format).wait().success();
    assert_eq!(
        inspected,
        format!("{} [\"cat\",\"/etc/greeting\"] [A=b]\n", id.trim())
    );
    let comment = host
        .rvm(["history", "--format", "{{.Comment}}", "hand:made"])
        .wait()
        .success();
    assert_eq!(comment, "by hand\n");
    // As a stream, without a name; umoci sees the same files in the store's layout.
    let input = std::fs::read(&tar).expect("tarball");
    let nameless = host
        .rvm(["image", "import", "-"])
        .wait_with(&input)
        .success();
    let listed = host
        .rvm(["images", "-q", "--no-trunc", "-f", "dangling=true"])
        .wait()
        .success();
    assert_eq!(listed, nameless);
    let layout = format!("oci:{}", host.root().join("content").display());
    let copied = host.folder().join("tmp/copied");
    let to = format!("oci:{}:it", copied.display());
    let from = format!("{layout}:docker.io/library/hand:made");
    host.judge("skopeo", &["--insecure-policy", "copy", "-q", &from, &to]);
    let unpacked = host.folder().join("tmp/unpacked");
    let (image, bundle) = (
        format!("{}:it", copied.display()),
        unpacked.display().to_string(),
    );
    host.judge(
        "umoci",
        &["unpack", "--rootless", "--image", &image, &bundle],
    );
    let greeting = std::fs::read_to_string(unpacked.join("rootfs/etc/greeting"));
    assert_eq!(greeting.expect("file"), "hello\n");
    host.rvm(["import", "/no/such/tarball"])
        .wait()
        .refused(1, &["/no/such/tarball", "No such file"]);
    host.rvm(["import", "-c", "RUN true", "-"])
        .wait()
        .refused(1, &["RUN", "not a valid change command"]);
}
