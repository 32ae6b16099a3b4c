//! Containers on the host for whoever is not root there: in a user namespace, in which they are.
//!
//! What needs root is done otherwise. Layers are mounted by FUSE, the writable layer is a folder, and passt is the network. Control groups
//! there are none.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use oci_spec::OciSpecError;
use oci_spec::runtime::{Mount, MountBuilder, Spec};

use crate::container::Settings;
use crate::lifecycle::CreateRequest;
use crate::options::isolation::Isolation;
use crate::options::limits::Limits;

/// Where the programs are that stand in for root: unshare, newuidmap, newgidmap, passt.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Which ids of the host a user may give to others in a user namespace.
const SUBORDINATES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// What every container has in /dev. Nobody makes device files in a user namespace; those of the host are bound.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Why there is no container without root.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The host forbids it.
    #[error(
        "--isolation container without root needs a user namespace, and this host gives none ({0}): run rvm as root, or leave the container its microVM (--isolation vm)"
    )]
    NoNamespace(String),
    /// A program is missing.
    #[error(
        "unshare is missing, which gives a container without root its user namespace: install util-linux"
    )]
    NoUnshare,
    /// No FUSE.
    #[error(
        "--isolation container without root needs FUSE to mount the image's layers, and /dev/fuse can't be opened: have it open to everybody (chmod 666 /dev/fuse), run rvm as root, or leave the container its microVM (--isolation vm)"
    )]
    NoFuse(#[source] io::Error),
    /// No control group.
    #[error(
        "without root a container on the host has no control group, so that its memory, processors and processes can't be limited: leave the limits out, or run rvm as root"
    )]
    Limits,
    /// No disk.
    #[error(
        "without root a container on the host has a folder as its writable layer, which has no size (--storage-opt): run rvm as root"
    )]
    Size,
    /// No devices.
    #[error("--privileged with --isolation container needs root: it is all of the host's devices")]
    Privileged,
    /// Another runtime.
    #[error("--runtime needs root: without it, containers on the host are run by rvm itself")]
    Runtime,
}

/// Whether whoever runs this has to do without root.
pub fn applies() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Whether a container of these settings has to.
pub(crate) fn applies_to(settings: &Settings) -> bool {
    settings.isolation == Isolation::Container && applies()
}

/// Whether a container can be had, and this one.
pub(crate) fn check(request: &CreateRequest) -> Result<(), RootlessError> {
    let limits = request.limits != Limits::default() || request.guest.pids_limit.is_some();
    if request.memory.is_some() || request.cpus.is_some() || limits {
        return Err(RootlessError::Limits);
    }
    if request.storage_size.is_some() {
        return Err(RootlessError::Size);
    }
    if request.guest.privileged {
        return Err(RootlessError::Privileged);
    }
    let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    fuse.map_err(RootlessError::NoFuse)?;
    let output = command().args(["--", "true"]).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or_default();
            Err(RootlessError::NoNamespace(said.to_owned()))
        }
        Err(_) => Err(RootlessError::NoUnshare),
    }
}

/// A command that runs its further arguments as root of a user namespace: with the user's subordinate ids as its other users, and
/// without others where the user has none.
pub(crate) fn command() -> Command {
    let mut command = Command::new("unshare");
    command.env_clear().env("PATH", PATH);
    command.args(["--user", "--map-root-user"]);
    if has_subordinates() {
        command.arg("--map-auto");
    }
    command
}

/// Removes a folder, in which things may be of the users of a user namespace.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    let mut command = command();
    command.args(["--", "rm", "-rf", "--"]).arg(folder);
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(said.trim().to_owned()))
        }
    }
}

/// Changes a specification to what a user namespace has.
pub(crate) fn adapt(spec: &mut Spec) -> Result<(), OciSpecError> {
    let mounts = spec.mounts_mut().get_or_insert_default();
    mounts.retain(|mount| mount.typ().as_deref() != Some("cgroup"));
    if !has_subordinates() {
        // The group tty is none of its groups.
        for mount in mounts.iter_mut() {
            if let Some(options) = mount.options_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    }
    for name in DEVICES {
        mounts.push(device(name)?);
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_resources(None);
    }
    Ok(())
}

fn device(name: &str) -> Result<Mount, OciSpecError> {
    let path = format!("/dev/{name}");
    MountBuilder::default()
        .destination(&path)
        .typ("bind")
        .source(&path)
        .options(vec!["bind".to_owned()])
        .build()
}

/// Whether both files have an entry for the user, by name or number.
fn has_subordinates() -> bool {
    let id = rustix::process::geteuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = name_of(&users, &id);
    SUBORDINATES.iter().all(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut owners = text.lines().filter_map(|line| line.split(':').next());
        owners.any(|owner| owner == id || Some(owner) == name)
    })
}

/// The name of a user in a file such as /etc/passwd.
fn name_of<'a>(users: &'a str, id: &str) -> Option<&'a str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(id)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_number() {
        let users = "root:x:0:0::/root:/bin/sh\nme:x:1000:100::/home/me:/bin/sh\n";
        assert_eq!(name_of(users, "1000"), Some("me"));
        assert_eq!(name_of(users, "100"), None);
    }
}
