//! The hierarchies of control groups of version 1: which there are, and mounting them where none of the host's mounts are.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, symlink};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_remount};

use super::{HIERARCHY, is_unified};

/// What the name of a hierarchy without controllers begins with.
const NAMED: &str = "name=";

/// Those that a process is in, such as `cpu,cpuacct` by their controllers or `name=systemd` without any; none on a machine whose
/// controllers are all of version 2.
pub fn of_process(groups: &str) -> Vec<String> {
    let names = groups.lines().filter_map(|line| line.split(':').nth(1));
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    if names.iter().all(|name| name.starts_with(NAMED)) {
        return Vec::new();
    }
    names.into_iter().map(str::to_owned).collect()
}

/// Those that are mounted, as the caller's groups tell them.
pub fn of_caller() -> io::Result<Vec<String>> {
    if is_unified() {
        return Ok(Vec::new());
    }
    Ok(of_process(&fs::read_to_string("/proc/self/cgroup")?))
}

/// The folders in which they are mounted.
pub fn folders() -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    if is_unified() {
        return Ok(folders);
    }
    for entry in fs::read_dir(HIERARCHY)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// Mounts them in folders below `place`, as the caller's namespace of control groups shows them.
pub fn mount_all(place: &Path, names: &[String], flags: u32) -> Result<(), Errno> {
    let flags = MountFlags::from_bits_retain(flags);
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", place, "tmpfs", safe, Some(c"mode=755,size=64k"))?;
    for name in names {
        let bare = name.strip_prefix(NAMED);
        let folder = place.join(bare.unwrap_or(name));
        rustix::fs::mkdir(&folder, Mode::from_raw_mode(0o755))?;
        let data = match bare {
            Some(_) => format!("none,{name}"),
            None => name.clone(),
        };
        let data = CString::new(data).map_err(|_| Errno::INVAL)?;
        mount("cgroup", &folder, "cgroup", flags, Some(data.as_c_str()))?;
        // Each controller of a hierarchy with several is looked for by its own name.
        for controller in name.split(',').filter(|_| name.contains(',')) {
            symlink(name.as_str(), place.join(controller))?;
        }
    }
    if flags.contains(MountFlags::RDONLY) {
        mount_remount(place, safe | MountFlags::RDONLY, c"mode=755,size=64k")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_by_their_controllers_or_names() {
        let groups = "9:name=systemd:/\n4:memory:/a\n2:cpu,cpuacct:/\n0::/\n";
        assert_eq!(
            of_process(groups),
            ["name=systemd", "memory", "cpu,cpuacct"]
        );
        assert!(of_process("0::/user.slice\n").is_empty());
        assert!(of_process("1:name=systemd:/\n0::/\n").is_empty());
    }
}
