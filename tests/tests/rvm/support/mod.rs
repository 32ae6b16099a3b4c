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

/// Seconds since 1970.
pub fn seconds() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
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

/// What the containers of the tests run in: `vm`, or what `RVM_TEST_ISOLATION` says.
pub fn isolation() -> String {
    std::env::var("RVM_TEST_ISOLATION").unwrap_or_else(|_| "vm".to_owned())
}

/// Whether they run in microVMs.
pub fn in_microvms() -> bool {
    isolation() == "vm"
}

/// Whether this machine can run the tests' containers; says so when not, past the capture of a passing test's output.
pub fn can_run(test: &str) -> bool {
    let kvm = File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    if !rustix::process::geteuid().is_root() {
        return skip(test, "not root");
    }
    if in_microvms() && !kvm {
        return skip(test, "no /dev/kvm that can be opened");
    }
    true
}

/// Whether the containers are in microVMs; says so when not.
pub fn is_about_microvms(test: &str) -> bool {
    in_microvms()
        || skip(
            test,
            "it is about microVMs, and RVM_TEST_ISOLATION says otherwise",
        )
}

/// A word in the command line of the process that a container of the tests is in: its VMM, or its sandbox's agent.
pub fn enclosure() -> &'static str {
    if in_microvms() {
        "rvm-vmm"
    } else {
        "rvm-agent --sandbox"
    }
}

/// All capabilities that a process of this host can have, as `/proc/PID/status` writes them; of a guest's, all that there are.
pub fn all_capabilities() -> String {
    if in_microvms() {
        return "000001ffffffffff".to_owned();
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    line.expect("a set").trim().to_owned()
}

/// A command for a shell in a container that prints a limit, from the file of whichever version of control groups it sees.
pub fn limit(file: &str) -> String {
    let older = match file {
        "memory.max" => "cat memory/memory.limit_in_bytes".to_owned(),
        "cpu.max" => "echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us)".to_owned(),
        other => format!("cat */{other}"),
    };
    format!("(cd /sys/fs/cgroup; cat {file} 2>/dev/null || {older})")
}

fn skip(test: &str, why: &str) -> bool {
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED {test}: {why}; nothing of it has run"
    );
    false
}

/// Leaves a test whose promises need a container where there can be none.
#[macro_export]
macro_rules! needs_container {
    () => {
        if !$crate::support::can_run(module_path!()) {
            return;
        }
    };
}

/// Leaves a test whose promises are those of a microVM alone where there is none.
#[macro_export]
macro_rules! needs_microvm {
    () => {
        if !$crate::support::is_about_microvms(module_path!()) {
            return;
        }
        $crate::needs_container!();
    };
}
