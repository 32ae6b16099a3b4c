//! The mounts of a specification, made from inside the container's new root, so that no link of the image's leads out of it.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdir, openat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind,
    mount_bind_recursive, mount_change, mount_remount, move_mount, open_tree,
};
use rvm_agent_protocol::Failure;

use crate::spec::Mount;

use super::failure;
use crate::cgroup::hierarchies as cgroups;

/// A mount's options, sorted by who they are for.
#[derive(Debug, Default, PartialEq)]
struct Options {
    flags: u32,
    bind: bool,
    recursive: bool,
    propagation: Option<u32>,
    data: String,
}

/// Opens what will be bound, for the mounts that bind something.
pub fn take_sources(mounts: &[Mount]) -> Result<Vec<Option<OwnedFd>>, Failure> {
    let take = |mount: &Mount| {
        let options = parse(mount);
        if !options.bind {
            return Ok(None);
        }
        let source = mount.source.as_deref().unwrap_or(Path::new(""));
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, options.recursive);
        open_tree(CWD, source, flags).map(Some).map_err(|e| {
            failure(
                &format!("{} could not be bound", source.display()),
                &e.into(),
            )
        })
    };
    mounts.iter().map(take).collect()
}

/// Makes the mounts, in order; `sources` are those of [`take_sources`], `hierarchies` those of control groups of version 1.
pub fn mount_all(
    mounts: &[Mount],
    sources: Vec<Option<OwnedFd>>,
    hierarchies: &[String],
) -> Result<(), Failure> {
    for (mount, source) in mounts.iter().zip(sources) {
        let options = parse(mount);
        let made = match source {
            Some(tree) => bind(&tree, &mount.destination, &options),
            None => mount_new(mount, &options, hierarchies),
        };
        made.and_then(|()| propagate(&mount.destination, &options))
            .map_err(|e| {
                let kind = mount.kind.as_deref().unwrap_or("bind");
                failure(
                    &format!(
                        "{kind} could not be mounted on {}",
                        mount.destination.display()
                    ),
                    &e.into(),
                )
            })?;
    }
    Ok(())
}

/// Makes paths read-only, and hides others; those that do not exist need neither.
pub fn protect(read_only: &[String], masked: &[String]) -> Result<(), Failure> {
    let flags = MountFlags::BIND
        | MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC;
    for path in read_only {
        let protected = mount_bind_recursive(path.as_str(), path.as_str())
            .and_then(|()| mount_remount(path.as_str(), flags, c""));
        match protected {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => {
                return Err(failure(
                    &format!("{path} could not be made read-only"),
                    &e.into(),
                ));
            }
        }
    }
    for path in masked {
        let hidden = match mount_bind("/dev/null", path.as_str()) {
            Err(Errno::NOTDIR) => mount(
                "tmpfs",
                path.as_str(),
                "tmpfs",
                MountFlags::RDONLY,
                Some(c"size=0k"),
            ),
            result => result,
        };
        match hidden {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(failure(&format!("{path} could not be hidden"), &e.into())),
        }
    }
    Ok(())
}

fn bind(tree: &OwnedFd, destination: &Path, options: &Options) -> Result<(), Errno> {
    let place = || {
        move_mount(
            tree,
            "",
            CWD,
            destination,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    match place() {
        Err(Errno::NOENT) => {
            let source = rustix::fs::statat(tree, "", AtFlags::EMPTY_PATH)?;
            if FileType::from_raw_mode(source.st_mode) == FileType::Directory {
                make_folders(destination)?;
            } else {
                make_folders(destination.parent().unwrap_or(Path::new("/")))?;
                openat(
                    CWD,
                    destination,
                    OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
                    Mode::from_raw_mode(0o644),
                )?;
            }
            place()?;
        }
        result => result?,
    }
    if options.flags == 0 {
        return Ok(());
    }
    mount_remount(
        destination,
        MountFlags::BIND | MountFlags::from_bits_retain(options.flags),
        c"",
    )
}

fn mount_new(spec: &Mount, options: &Options, hierarchies: &[String]) -> Result<(), Errno> {
    let destination = &spec.destination;
    let kind = match spec.kind.as_deref().unwrap_or("none") {
        // What the specification calls so, in either version.
        "cgroup" if hierarchies.is_empty() => "cgroup2",
        "cgroup" => return cgroups::mount_all(destination, hierarchies, options.flags),
        kind => kind,
    };
    if matches!(kind, "proc" | "sysfs") {
        // Its files have to be where everything that protects them will look.
        match rustix::fs::lstat(destination) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Symlink => {
                return Err(Errno::LOOP);
            }
            _ => {}
        }
    }
    let source = spec.source.as_deref().unwrap_or(Path::new(kind));
    let data = CString::new(options.data.as_str()).map_err(|_| Errno::INVAL)?;
    let place = || {
        mount(
            source,
            destination,
            kind,
            MountFlags::from_bits_retain(options.flags),
            Some(data.as_c_str()),
        )
    };
    match place() {
        Err(Errno::NOENT) => {
            make_folders(destination)?;
            place()
        }
        result => result,
    }
}

fn propagate(destination: &Path, options: &Options) -> Result<(), Errno> {
    match options.propagation {
        Some(bits) => mount_change(destination, MountPropagationFlags::from_bits_retain(bits)),
        None => Ok(()),
    }
}

fn make_folders(path: &Path) -> Result<(), Errno> {
    let mut folders = path
        .ancestors()
        .filter(|p| p.parent().is_some())
        .collect::<Vec<_>>();
    folders.reverse();
    for folder in folders {
        match mkdir(folder, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Sorts the options of mount(8) and the specification.
fn parse(mount: &Mount) -> Options {
    let mut options = Options {
        bind: mount.kind.as_deref() == Some("bind"),
        ..Options::default()
    };
    for option in &mount.options {
        let (set, clear) = match option.as_str() {
            "bind" | "rbind" => {
                options.bind = true;
                options.recursive = option == "rbind";
                continue;
            }
            // Everything is private already.
            "private" | "rprivate" | "tmpcopyup" | "defaults" => continue,
            "shared" => propagation(&mut options, libc::MS_SHARED),
            "rshared" => propagation(&mut options, libc::MS_SHARED | libc::MS_REC),
            "slave" => propagation(&mut options, libc::MS_SLAVE),
            "rslave" => propagation(&mut options, libc::MS_SLAVE | libc::MS_REC),
            "unbindable" => propagation(&mut options, libc::MS_UNBINDABLE),
            "runbindable" => propagation(&mut options, libc::MS_UNBINDABLE | libc::MS_REC),
            "ro" | "rro" => (libc::MS_RDONLY, 0),
            "rw" | "rrw" => (0, libc::MS_RDONLY),
            "nosuid" => (libc::MS_NOSUID, 0),
            "suid" => (0, libc::MS_NOSUID),
            "nodev" => (libc::MS_NODEV, 0),
            "dev" => (0, libc::MS_NODEV),
            "noexec" => (libc::MS_NOEXEC, 0),
            "exec" => (0, libc::MS_NOEXEC),
            "sync" => (libc::MS_SYNCHRONOUS, 0),
            "async" => (0, libc::MS_SYNCHRONOUS),
            "dirsync" => (libc::MS_DIRSYNC, 0),
            "noatime" => (libc::MS_NOATIME, 0),
            "atime" => (0, libc::MS_NOATIME),
            "nodiratime" => (libc::MS_NODIRATIME, 0),
            "diratime" => (0, libc::MS_NODIRATIME),
            "relatime" => (libc::MS_RELATIME, 0),
            "norelatime" => (0, libc::MS_RELATIME),
            "strictatime" => (libc::MS_STRICTATIME, 0),
            "nostrictatime" => (0, libc::MS_STRICTATIME),
            data => {
                if !options.data.is_empty() {
                    options.data.push(',');
                }
                options.data.push_str(data);
                continue;
            }
        };
        options.flags = (options.flags | set as u32) & !(clear as u32);
    }
    options
}

fn propagation(options: &mut Options, bits: libc::c_ulong) -> (libc::c_ulong, libc::c_ulong) {
    options.propagation = Some(bits as u32);
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kind: &str, list: &[&str]) -> Options {
        let value =
            serde_json::json!({"destination": "/x", "type": kind, "source": "s", "options": list});
        parse(&serde_json::from_value(value).expect("a mount"))
    }

    #[test]
    fn flags_go_to_the_mount_and_the_rest_to_the_file_system() {
        let parsed = options(
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        );
        assert_eq!(
            u64::from(parsed.flags),
            libc::MS_NOSUID | libc::MS_STRICTATIME
        );
        assert_eq!(parsed.data, "mode=755,size=65536k");
        assert!(!parsed.bind);
    }

    #[test]
    fn a_later_option_undoes_an_earlier_one() {
        assert_eq!(
            options("bind", &["ro", "rw", "rprivate"]),
            Options {
                bind: true,
                ..Options::default()
            }
        );
        let parsed = options("none", &["rbind", "ro", "rslave"]);
        assert!(parsed.bind && parsed.recursive);
        assert_eq!(
            parsed.propagation,
            Some((libc::MS_SLAVE | libc::MS_REC) as u32)
        );
    }
}
