//! Removing what a sandbox leaves behind whose agent was killed: its control group, and a disk that is still mounted for a moment.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{cgroup, launch::LOG_LIMIT};
use crate::id::ContainerId;

/// How long the kernel is given to unmount what the ended processes had mounted.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends whatever is left in the container's control group, removes that, and waits until nobody has its `disk` mounted any more.
pub fn clean_up(agent: &Path, id: &ContainerId, disk: &Path) -> io::Result<()> {
    let output = Command::new(agent)
        .arg("--clean-up")
        .arg(cgroup(id))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = &output.stderr[..output.stderr.len().min(LOG_LIMIT)];
        return Err(io::Error::other(
            String::from_utf8_lossy(said).trim().to_owned(),
        ));
    }
    let begin = Instant::now();
    while is_mounted(disk) {
        if begin.elapsed() > PATIENCE {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{} is still mounted", disk.display()),
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Whether there is a loop device for the file.
fn is_mounted(disk: &Path) -> bool {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let files = devices
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"loop"))
        .filter_map(|entry| fs::read_to_string(entry.path().join("loop/backing_file")).ok());
    let disk = disk.to_string_lossy();
    files
        .map(|file| file.trim_end().trim_end_matches(" (deleted)").to_owned())
        .any(|file| file == disk)
}
