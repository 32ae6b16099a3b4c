//! A sandbox on a host, which is to its container what a guest is: namespaces with an agent in them as their first process, and a
//! root in which nothing of the host's files is.
//!
//! The host's side has made the process namespace; it ends everything in it when the agent ends, however that comes about.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    unmount,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::cgroup::hierarchies;

/// A folder that every host has; it becomes the root.
const PLACE: &str = "/run";

/// The argument that starts an agent in a sandbox, before the descriptor of its socket.
pub const ARGUMENT: &str = "--sandbox";

/// The argument behind that which leaves the agent the host's files, for an OCI runtime that is one of them.
pub const SHARED_ROOT: &str = "--shared-root";

/// The argument behind that which tells that the agent is in a user namespace.
pub const ROOTLESS: &str = "--rootless";

/// What is different in a sandbox.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Usual,
    /// The host's files stay in sight.
    SharedRoot,
    /// It is in a user namespace, which the host's control groups are not for.
    Rootless,
}

/// The argument that removes the control group of a sandbox whose agent is gone, before its path.
pub const CLEAN_UP: &str = "--clean-up";

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No namespaces.
    #[error("the sandbox's namespaces could not be made")]
    Namespaces(#[source] io::Error),
    /// Not mounted.
    #[error("{0} could not be mounted in the sandbox")]
    Mount(&'static str, #[source] io::Error),
    /// No control groups.
    #[error("the host's control groups could not be found")]
    Cgroups(#[source] io::Error),
    /// The root stays.
    #[error(
        "the sandbox's root could not be entered: the host's own root may be an initial RAM disk"
    )]
    Root(#[source] io::Error),
}

/// Brings the caller into a network of its own and a root of its own, or to the host's root with mounts of its own.
pub fn enter(kind: Kind) -> Result<(), Error> {
    forget_the_caller();
    // Asked before they are out of sight.
    let groups = fs::read_to_string("/proc/self/cgroup").map_err(Error::Cgroups)?;
    let namespaces = match kind {
        // It came with a network of its own.
        Kind::Rootless => UnshareFlags::NEWNS,
        _ => UnshareFlags::NEWNS | UnshareFlags::NEWNET,
    };
    // SAFETY: no descriptors are shared with another thread: there is none.
    unsafe { unshare_unsafe(namespaces) }.map_err(|e| Error::Namespaces(e.into()))?;
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", private).map_err(|e| Error::Namespaces(e.into()))?;
    let hierarchies = hierarchies::of_process(&groups);
    if kind == Kind::SharedRoot {
        return fill(Path::new("/"), &hierarchies, kind);
    }
    fill(Path::new(PLACE), &hierarchies, kind)?;
    bind_devices()?;
    let change = || -> Result<(), Errno> {
        rustix::process::chdir(PLACE)?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")
    };
    change().map_err(|e| Error::Root(e.into()))
}

/// What the shell has set for the command that has started the container is not the container's.
fn forget_the_caller() {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    for signal in 1..=64 {
        // SAFETY: the default action has no handler; those of SIGKILL and SIGSTOP can't be set, and need not be.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn fill(place: &Path, hierarchies: &[String], kind: Kind) -> Result<(), Error> {
    let safe = MountFlags::NOSUID | MountFlags::NOEXEC;
    let failed = |what| move |e: Errno| Error::Mount(what, e.into());
    let options = Some(c"mode=755,size=16m");
    mount("tmpfs", PLACE, "tmpfs", MountFlags::NOSUID, options).map_err(failed("its root"))?;
    let mount_on = |kind: &'static str, folder: &str, flags| {
        let target = place.join(folder);
        let _ = rustix::fs::mkdir(&target, Mode::from_raw_mode(0o755));
        mount(kind, &target, kind, flags, None::<&std::ffi::CStr>).map_err(failed(kind))
    };
    mount_on("proc", "proc", safe | MountFlags::NODEV)?;
    mount_on("sysfs", "sys", safe | MountFlags::NODEV)?;
    let groups = place.join("sys/fs/cgroup");
    if kind == Kind::Rootless {
        return Ok(());
    }
    if hierarchies.is_empty() {
        mount_on("cgroup2", "sys/fs/cgroup", safe | MountFlags::NODEV)?;
    } else {
        let flags = (safe | MountFlags::NODEV).bits();
        hierarchies::mount_all(&groups, hierarchies, flags).map_err(failed("cgroup"))?;
    }
    Ok(())
}

fn bind_devices() -> Result<(), Error> {
    let devices = Path::new(PLACE).join("dev");
    rustix::fs::mkdir(&devices, Mode::from_raw_mode(0o755))
        .and_then(|()| mount_bind_recursive("/dev", &devices))
        .map_err(|e| Error::Mount("/dev", e.into()))
}
