//! Images mounted by the kernel, unmounted whatever happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rvm_images::LayerImage;

use super::{run, str};

/// Mounted file systems below one folder.
pub struct Mounts {
    folder: PathBuf,
    mounted: Vec<PathBuf>,
}

impl Mounts {
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        Self {
            folder: folder.to_owned(),
            mounted: Vec::new(),
        }
    }

    pub fn erofs(&mut self, image: &Path) -> PathBuf {
        let at = self.point();
        run(
            "mount",
            &["-t", "erofs", "-o", "loop,ro", str(image), str(&at)],
        );
        self.mounted.push(at.clone());
        at
    }

    /// The tree that a container sees: all layers, uppermost first, joined by overlayfs.
    pub fn overlay(&mut self, layers: &[LayerImage]) -> PathBuf {
        let mut lower: Vec<PathBuf> = layers.iter().map(|layer| self.erofs(&layer.path)).collect();
        // A single lower directory needs an empty one below it.
        let empty = self.point();
        lower.push(empty);
        let at = self.point();
        let lower: Vec<&str> = lower.iter().map(|path| str(path)).collect();
        run(
            "mount",
            &[
                "-t",
                "overlay",
                "-o",
                &format!("ro,lowerdir={}", lower.join(":")),
                "overlay",
                str(&at),
            ],
        );
        self.mounted.push(at.clone());
        at
    }

    fn point(&self) -> PathBuf {
        let at = (0..)
            .map(|i| self.folder.join(i.to_string()))
            .find(|at| !at.exists())
            .unwrap();
        fs::create_dir(&at).unwrap();
        at
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for at in self.mounted.iter().rev() {
            let gone = Command::new("umount")
                .arg(at)
                .status()
                .is_ok_and(|status| status.success());
            if !gone {
                let _ = Command::new("umount").arg("-l").arg(at).status();
            }
        }
    }
}
