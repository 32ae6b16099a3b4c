//! The files a microVM is made of: the VMM, the guest's kernel and its initial root file system.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The program `rvm-vmm`.
    pub vmm: PathBuf,
    /// The guest's kernel, an ELF `vmlinux`.
    pub kernel: PathBuf,
    /// The guest's initial root file system, with the agent in it.
    pub initramfs: PathBuf,
}

/// Why one of the files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It is nowhere.
    #[error("{name} is not in {}: run 'make install', or name its folder in RVM_LIBEXEC", shown(.folders))]
    Missing {
        /// Its name.
        name: &'static str,
        /// Where it was looked for.
        folders: Vec<PathBuf>,
    },
    /// It can't be read.
    #[error("cannot open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel is something else.
    #[error(
        "{0} is not a kernel for microVMs: an uncompressed 64-bit x86 ELF file (vmlinux) is needed, not a bzImage"
    )]
    NotAKernel(PathBuf),
}

fn shown(folders: &[PathBuf]) -> String {
    folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect::<Vec<_>>()
        .join(" or ")
}

impl Artifacts {
    /// Finds the files; `kernel` is used in place of the installed kernel.
    pub fn find(kernel: Option<&Path>) -> Result<Self, ArtifactError> {
        let kernel = match kernel {
            Some(kernel) => kernel.to_owned(),
            None => find("vmlinux")?,
        };
        Ok(Self {
            vmm: find("rvm-vmm")?,
            kernel,
            initramfs: find("initramfs.cpio")?,
        })
    }

    /// Opens the kernel, if it is one.
    pub fn open_kernel(&self) -> Result<File, ArtifactError> {
        let file = open(&self.kernel)?;
        let mut header = [0; ELF_HEADER];
        match (&file).read_exact(&mut header) {
            Ok(()) if is_kernel(&header) => Ok(file),
            Ok(()) => Err(ArtifactError::NotAKernel(self.kernel.clone())),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ArtifactError::NotAKernel(self.kernel.clone()))
            }
            Err(source) => Err(ArtifactError::Open {
                path: self.kernel.clone(),
                source,
            }),
        }
    }

    /// Opens the initial root file system.
    pub fn open_initramfs(&self) -> Result<File, ArtifactError> {
        open(&self.initramfs)
    }
}

/// The program that is started beside each container.
pub fn monitor_program() -> Result<PathBuf, ArtifactError> {
    find("rvm-monitor")
}

/// The program `rvm-agent`, which a container without a microVM has in its sandbox.
pub fn agent_program() -> Result<PathBuf, ArtifactError> {
    find("rvm-agent")
}

/// The program `rvm-rootless`, which starts the agent in a user namespace.
pub fn rootless_program() -> Result<PathBuf, ArtifactError> {
    find("rvm-rootless")
}

/// The program `rvm-workload`, which benchmarks run inside containers.
pub fn workload_program() -> Result<PathBuf, ArtifactError> {
    find("rvm-workload")
}

fn find(name: &'static str) -> Result<PathBuf, ArtifactError> {
    let folders = folders();
    let found = folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.ok_or(ArtifactError::Missing { name, folders })
}

fn open(path: &Path) -> Result<File, ArtifactError> {
    File::open(path).map_err(|source| ArtifactError::Open {
        path: path.to_owned(),
        source,
    })
}

const ELF_HEADER: usize = 20;

/// Whether an ELF header is that of a 64-bit, little-endian executable (type 2) for x86-64 (machine 62). Programs of today are of type 3.
fn is_kernel(header: &[u8; ELF_HEADER]) -> bool {
    header.starts_with(b"\x7fELF\x02\x01") && header[16..] == [2, 0, 62, 0]
}

/// `RVM_LIBEXEC` alone when it is set; otherwise where `make install` puts the files, then beside the program.
fn folders() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os("RVM_LIBEXEC") {
        return vec![folder.into()];
    }
    let program = std::env::current_exe()
        .and_then(std::fs::canonicalize)
        .unwrap_or_default();
    let Some(folder) = program.parent() else {
        return Vec::new();
    };
    let installed = folder.parent().map(|prefix| prefix.join("lib/rvm"));
    installed.into_iter().chain([folder.to_owned()]).collect()
}
