//! The guest kernel has what it must have: no option was dropped by Kconfig without a word.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::workspace;
use crate::support::{Outcome, Process};

fn script(name: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new(workspace().join("guest-kernel").join(name));
    command.args(args);
    Process::start(command).wait()
}

/// The configuration of the kernel that `guest-kernel/build` makes of this tree, beside it in the cache.
fn built_config() -> PathBuf {
    if let Some(config) = std::env::var_os("RVM_KERNEL_CONFIG") {
        return config.into();
    }
    // Where it is built already, as by `make test`, this only looks it up.
    let vmlinux = script("build", &[]).success();
    PathBuf::from(vmlinux.trim()).with_file_name("config")
}

#[test]
fn every_required_option_is_set_and_missed_when_it_is_not() {
    let config = built_config();
    script("check-config", &[config.to_str().expect("UTF-8")]).success();

    let built = fs::read_to_string(&config).expect("configuration");
    let required =
        fs::read_to_string(workspace().join("guest-kernel/required-options")).expect("options");
    let set: Vec<_> = required
        .lines()
        .filter(|line| line.starts_with("CONFIG_") && !line.ends_with("=n"))
        .collect();
    assert!(set.len() > 50, "the list has {} options", set.len());
    let changed = tempfile::NamedTempFile::new().expect("file");
    for option in &set {
        let name = option.split('=').next().expect("a name");
        let without: Vec<_> = built
            .lines()
            .map(|line| {
                if line == *option {
                    format!("# {name} is not set")
                } else {
                    line.to_owned()
                }
            })
            .collect();
        fs::write(changed.path(), without.join("\n")).expect("file");
        let end = script("check-config", &[changed.path().to_str().expect("UTF-8")]);
        assert!(
            end.code() == 1 && end.errors().contains(name),
            "{name} is off, and nobody says so: {end}"
        );
    }
}
