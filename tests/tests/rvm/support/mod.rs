//! What the tests share: hosts to run `rvm` on, processes with a time limit, terminals, images, and judges of what is left.

pub mod container;
pub mod host;
pub mod image;
pub mod process;
pub mod registry;
pub mod snapshot;
pub mod terminal;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use container::Container;
pub use host::Host;
pub use process::{Outcome, Process};

/// The workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace is above this crate")
}

/// The built program `rvm`.
pub fn rvm() -> PathBuf {
    let build =
        std::env::var_os("RVM_BUILD").map_or_else(|| workspace().join("build"), PathBuf::from);
    let rvm = build.join("bin/rvm");
    assert!(
        rvm.is_file(),
        "{} is missing: run 'make build', or name another folder in RVM_BUILD",
        rvm.display()
    );
    rvm
}

/// The archive of a test image.
pub fn archive(name: &str) -> PathBuf {
    let images = std::env::var_os("RVM_IMAGES").map(PathBuf::from);
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let images = images
        .or_else(|| cache().or_else(home).map(|cache| cache.join("rvm/images")))
        .expect("RVM_IMAGES or HOME is set");
    let archive = images.join(format!("{name}.oci.tar"));
    assert!(
        archive.is_file(),
        "{} is missing: run 'make images', or name another folder in RVM_IMAGES",
        archive.display()
    );
    archive
}

/// A number from the environment.
pub fn number(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
        Err(_) => default,
    }
}

/// Asks again and again for something that happens without a word to wait for.
pub fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + process::patience();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether this machine can run microVMs; says so when not, past the capture of a passing test's output.
pub fn can_run(test: &str) -> bool {
    let kvm = File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    let root = rustix::process::geteuid().is_root();
    if !kvm || !root {
        let why = if kvm {
            "not root"
        } else {
            "no /dev/kvm that can be opened"
        };
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: {why}; nothing of it has run"
        );
    }
    kvm && root
}

/// Leaves a test whose promises need a microVM where there can be none.
#[macro_export]
macro_rules! needs_microvm {
    () => {
        if !$crate::support::can_run(module_path!()) {
            return;
        }
    };
}
