//! The guest's own devices, for a container that is to have all of them.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::spec::Device;

/// What every container has in forms of its own.
const OWN: [&str; 4] = ["console", "ptmx", "pts", "shm"];

/// The device files of the guest's `/dev` and of the folders in it.
pub fn list() -> Vec<Device> {
    let mut devices = Vec::new();
    add(Path::new("/dev"), true, &mut devices);
    devices
}

fn add(folder: &Path, is_top: bool, devices: &mut Vec<Device>) {
    // A device that goes while it is looked at is one fewer.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if is_top && OWN.iter().any(|own| name == *own) {
            continue;
        }
        let Ok(found) = entry.metadata() else {
            continue;
        };
        let kind = match found.file_type() {
            kind if kind.is_dir() && is_top => {
                add(&entry.path(), false, devices);
                continue;
            }
            kind if kind.is_char_device() => "c",
            kind if kind.is_block_device() => "b",
            _ => continue,
        };
        devices.push(Device {
            kind: kind.to_owned(),
            path: entry.path(),
            major: rustix::fs::major(found.rdev()),
            minor: rustix::fs::minor(found.rdev()),
            file_mode: Some(found.mode() & 0o7777),
            uid: Some(found.uid()),
            gid: Some(found.gid()),
        });
    }
}
