//! Standard streams: separate, binary-safe, ended when the other side ends.

use std::fs::File;
use std::io::Read;
use std::io::Write;

use crate::needs_container;
use crate::support::Host;

/// Every byte value, and then several MB in which no pattern repeats.
fn everything() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=255).collect();
    File::open("/dev/urandom")
        .expect("random")
        .take(3 << 20)
        .read_to_end(&mut bytes)
        .expect("random");
    bytes
}

#[test]
fn streams_are_binary_safe_separate_and_end() {
    needs_container!();
    let bytes = everything();
    // cat ends only when its input does; what it wrote is told from what goes to the other stream.
    let script = r"cat; printf '\000\001\377\r\n' >&2";
    let end = Host::shared()
        .rvm([
            "run",
            "--rm",
            "-i",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            script,
        ])
        .wait_with(&bytes);
    assert_eq!(end.code(), 0);
    assert_eq!(end.stderr, [0, 1, 0xff, b'\r', b'\n']);
    assert_eq!(end.stdout.len(), bytes.len());
    // Not assert_eq, which would print megabytes.
    assert!(end.stdout == bytes, "bytes have changed on the way");
}

#[test]
fn the_guest_receives_exactly_what_was_sent() {
    needs_container!();
    let host = Host::shared();
    let container = host.detached(["--network", "none", "busybox", "tail", "-f", "/dev/null"]);
    let bytes = everything();
    let file = host.folder().join("tmp/sent");
    File::create(&file)
        .and_then(|mut file| file.write_all(&bytes))
        .expect("file");
    let expected = host.judge("sha256sum", &[file.to_str().expect("UTF-8")]);
    let end = host
        .rvm(["exec", "-i", &container.id, "sha256sum"])
        .wait_with(&bytes);
    assert_eq!(end.success()[..64], expected[..64]);

    // Without -i there is no input to wait for, even though ours stays open.
    let mut closed = host.rvm(["exec", &container.id, "cat"]);
    assert_eq!(closed.wait_exit().success(), "");

    // A process that ends before its input has been read ends the command too.
    let mut early = host.rvm(["exec", "-i", &container.id, "sh", "-c", "head -c 3; exit 5"]);
    early
        .stdin
        .as_mut()
        .expect("piped")
        .write_all(b"abcdef")
        .expect("input");
    let early = early.wait_exit();
    assert_eq!((early.code(), early.text().as_str()), (5, "abc"), "{early}");
}
