//! The hierarchies of control groups of version 1: which there are, and mounting them where none of the host's mounts are.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, symlink};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_remount};

use super::{HIERARCHY, is_unified};

/// Those that a process is in, by their controllers such as `cpu,cpuacct`; none on a machine with version 2 alone.
pub fn of_process(groups: &str) -> Vec<String> {
    let controllers = |line: &str| {
        let name = line.split(':').nth(1)?;
        (!name.is_empty() && !name.starts_with("name=")).then(|| name.to_owned())
    };
    groups.lines().filter_map(controllers).collect()
}

/// Those that are mounted in folders of their names.
pub fn names() -> Vec<String> {
    let folders = folders().unwrap_or_default();
    let name = |folder: &PathBuf| Some(folder.file_name()?.to_str()?.to_owned());
    folders.iter().filter_map(name).collect()
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
        let folder = place.join(name);
        rustix::fs::mkdir(&folder, Mode::from_raw_mode(0o755))?;
        let data = CString::new(name.as_str()).map_err(|_| Errno::INVAL)?;
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
    fn hierarchies_are_told_by_their_controllers() {
        let groups = "9:name=systemd:/\n4:memory:/a\n2:cpu,cpuacct:/\n0::/\n";
        assert_eq!(of_process(groups), ["memory", "cpu,cpuacct"]);
        assert!(of_process("0::/user.slice\n").is_empty());
    }
}
