//! What holds for any input: references read back as they are shown, no archive makes the reader panic.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::io::Read;

use common::layers::layer;
use proptest::prelude::*;
use rvm_images::tar::TarReader;
use rvm_images::{Digest, Reference};

fn component() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}").unwrap()
}

fn domain() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(
        proptest::string::string_regex(
            "(localhost|[a-z0-9]{1,5}\\.[a-zA-Z0-9]{1,5}|\\[::1\\]|A)(:[0-9]{1,5})?",
        )
        .unwrap(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reference_reads_back(
        domain in domain(),
        path in proptest::collection::vec(component(), 1..4),
        tag in proptest::option::of(proptest::string::string_regex("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}").unwrap()),
        digest in any::<Option<u64>>(),
    ) {
        // It would be taken for a registry.
        prop_assume!(domain.is_some() || path.len() == 1 || !path[0].contains('.'));
        let mut text = domain.map(|domain| domain + "/").unwrap_or_default() + &path.join("/");
        text += &tag.map(|tag| format!(":{tag}")).unwrap_or_default();
        text += &digest.map(|seed| format!("@{}", Digest::of(&seed.to_le_bytes()))).unwrap_or_default();
        let reference: Reference = text.parse().unwrap();
        prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
        prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
        prop_assert!(reference.tag().is_some() || reference.digest().is_some());
    }

    #[test]
    fn any_text_is_a_reference_or_an_error(text in "\\PC{0,40}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn an_archive_with_any_bytes_changed_is_read_or_refused(
        changes in proptest::collection::vec((0usize..6000, any::<u8>()), 0..30),
        fix in any::<bool>(),
    ) {
        let mut archive = layer()
            .dir("./")
            .pax(&[("path", b"long"), ("SCHILY.xattr.user.x", b"y"), ("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"9")])
            .file("file", "x")
            .symlink("link", &"t".repeat(150))
            .done();
        let length = archive.len();
        for (at, byte) in changes {
            archive[at % length] = byte;
        }
        if fix {
            fix_checksums(&mut archive);
        }
        let mut reader = TarReader::new(&archive[..]);
        let mut entries = 0;
        while let Ok(Some(entry)) = reader.next() {
            entries += 1;
            prop_assert!(entries < 100);
            let stored: u64 = entry.extents.as_ref().map_or(entry.size, |extents| extents.iter().map(|e| e.1).sum());
            let mut data = Vec::new();
            if reader.read_to_end(&mut data).is_ok() && entry.kind == rvm_images::tar::EntryKind::File {
                prop_assert_eq!(data.len() as u64, stored);
            }
        }
    }

    #[test]
    fn any_bytes_are_no_archive(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut reader = TarReader::new(&bytes[..]);
        while let Ok(Some(_)) = reader.next() {}
    }
}

/// Makes every block's checksum right, so that what was changed is looked at.
fn fix_checksums(archive: &mut [u8]) {
    for block in archive.as_chunks_mut::<512>().0 {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

#[test]
fn references_are_docker_s() {
    for (text, full, familiar) in [
        ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        (
            "docker.io/library/nginx",
            "docker.io/library/nginx:latest",
            "nginx:latest",
        ),
        (
            "index.docker.io/nginx",
            "docker.io/library/nginx:latest",
            "nginx:latest",
        ),
        (
            "localhost/app",
            "localhost/app:latest",
            "localhost/app:latest",
        ),
        (
            "localhost:5000/app:1",
            "localhost:5000/app:1",
            "localhost:5000/app:1",
        ),
        (
            "ghcr.io/a/b/c",
            "ghcr.io/a/b/c:latest",
            "ghcr.io/a/b/c:latest",
        ),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        (
            "docker.io/a.b/c",
            "docker.io/a.b/c:latest",
            "docker.io/a.b/c:latest",
        ),
        (
            "docker.io/library/a/b",
            "docker.io/library/a/b:latest",
            "library/a/b:latest",
        ),
    ] {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(
            (
                reference.to_string().as_str(),
                reference.familiar().as_str()
            ),
            (full, familiar)
        );
    }
    let too_long = format!("a/{}", "b".repeat(254));
    let id = "0".repeat(64);
    for text in [
        "",
        "Nginx",
        "nginx:",
        ":tag",
        "a//b",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a:b:c",
        "a@sha256:12",
        "a b",
        "a/:tag",
        "ghcr.io/",
        "a.b:x/c",
        "nginx:.tag",
        "/nginx",
        "nginx/",
        "nginx:tag/x",
        "ä",
        "a:ü",
        &too_long,
        &id,
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text}");
    }
}
