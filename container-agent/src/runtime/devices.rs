//! The device files and links that every container has, and those of its own.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, FileType, Gid, Mode, Uid, chown, makedev, mkdir, mknodat, symlink};
use rustix::io::Errno;
use rvm_agent_protocol::Failure;

use crate::spec::Device;

use super::failure;

/// The devices of <https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#default-devices>.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Makes the default devices and `more` in the root of the calling process.
pub fn make(more: &[Device]) -> Result<(), Failure> {
    let mask = rustix::process::umask(Mode::empty());
    let result = make_all(more);
    rustix::process::umask(mask);
    result
}

fn make_all(more: &[Device]) -> Result<(), Failure> {
    for (path, major, minor) in DEFAULT {
        node(
            Path::new(path),
            FileType::CharacterDevice,
            0o666,
            makedev(major, minor),
        )?;
    }
    for (target, path) in LINKS {
        match symlink(target, path) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => {
                return Err(failure(
                    &format!("the link {path} could not be made"),
                    &e.into(),
                ));
            }
        }
    }
    for device in more {
        let kind = match device.kind.as_str() {
            "b" => FileType::BlockDevice,
            "p" => FileType::Fifo,
            _ => FileType::CharacterDevice,
        };
        let number = makedev(device.major, device.minor);
        let folders = device.path.ancestors().skip(1).collect::<Vec<_>>();
        for folder in folders.into_iter().rev() {
            // What exists or cannot be made shows at the device.
            let _ = mkdir(folder, Mode::from_raw_mode(0o755));
        }
        node(
            &device.path,
            kind,
            device.file_mode.unwrap_or(0o666),
            number,
        )?;
        let (uid, gid) = (device.uid.map(Uid::from_raw), device.gid.map(Gid::from_raw));
        if uid.is_some() || gid.is_some() {
            chown(&device.path, uid, gid).map_err(|e| unmade(&device.path, e))?;
        }
    }
    Ok(())
}

fn node(path: &Path, kind: FileType, mode: u32, number: u64) -> Result<(), Failure> {
    match mknodat(CWD, path, kind, Mode::from_raw_mode(mode & 0o7777), number) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(unmade(path, e)),
    }
}

fn unmade(path: &Path, error: Errno) -> Failure {
    failure(
        &format!("the device {} could not be made", path.display()),
        &io::Error::from(error),
    )
}
