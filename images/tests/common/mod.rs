//! What the tests of this crate share: layers made entry by entry, layouts, mounted trees, and umoci's.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

pub mod layers;
pub mod layout;
pub mod mounts;
pub mod snapshot;

use std::path::Path;
use std::process::Command;

/// Runs a program that has to succeed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|err| panic!("{program}: {err}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Mounting needs root; without it the comparison cannot be made, and says so.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("{test}: not run, mounting needs root");
    }
    root
}

pub fn tempdir() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("rvm-images-test-")
        .tempdir()
        .unwrap()
}

/// The text of an error with all its causes, as the command line shows it.
pub fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        text += &format!(": {err}");
        source = err.source();
    }
    text
}
