//! Bringing a program and what it is linked with into the page cache, so that the template which is made then has them, and its clones
//! have them in common.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use elf::ElfBytes;
use elf::abi::{DT_NEEDED, PT_INTERP};
use elf::endian::NativeEndian;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use rvm_agent_protocol::Program;

use super::command::{self, DEFAULT_PATH};

/// The most of one file, and of all of them, in bytes.
const LARGEST: usize = 16 << 20;
const ALL: usize = 48 << 20;
/// The most files.
const FILES: usize = 128;

/// Where a dynamic linker of amd64 looks for libraries if nothing else is said: Debian's and its descendants', Red Hat's, and musl's.
const LIBRARIES: [&str; 7] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
];

/// Brings a program, its interpreter and its libraries into the page cache. What is not found, or is no such file, is left out: it would
/// only be quicker, and whatever is wrong is met again when the program is run.
pub fn warm(program: &Program) {
    let search = program.search.as_deref().unwrap_or(DEFAULT_PATH);
    let Ok(path) = command::find(&program.name, search) else {
        return;
    };
    bring_in_with_libraries(path);
}

/// Returns which files that were.
fn bring_in_with_libraries(program: PathBuf) -> BTreeSet<PathBuf> {
    let mut seen = BTreeSet::from([program.clone()]);
    let mut files = vec![program];
    let mut left = ALL;
    while left > 0
        && let Some(path) = files.pop()
    {
        let Ok((length, needed)) = bring_in(&path, LARGEST.min(left)) else {
            continue;
        };
        left -= length;
        for path in needed.iter().filter_map(|name| locate(name)) {
            // Most libraries need the same few.
            if seen.len() < FILES && seen.insert(path.clone()) {
                files.push(path);
            }
        }
    }
    seen
}

/// A library by its name, or what is named by its path.
fn locate(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(name.into());
    }
    let mut candidates = LIBRARIES.iter().map(|folder| Path::new(folder).join(name));
    candidates.find(|path| path.is_file())
}

/// Reads at most `most` bytes of a file, in pieces as large as the kernel makes them: what is mapped and unmapped in such pieces costs a
/// piece and not each of its pages. Returns how much that was, and what the file says that it needs.
fn bring_in(path: &Path, most: usize) -> io::Result<(usize, Vec<OsString>)> {
    const STEP: usize = 64 << 10;
    let metadata = path.metadata()?;
    // Opening a pipe would wait for who writes.
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = File::open(path)?;
    let length = usize::try_from(metadata.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let read = length.min(most);
    // SAFETY: a new mapping of a file in which nobody writes, at an address that the kernel chooses; it is read within its length, also
    // as a slice, and given back when the slice is gone.
    unsafe {
        let address = mmap(
            std::ptr::null_mut(),
            length,
            ProtFlags::READ,
            MapFlags::PRIVATE,
            &file,
            0,
        )?;
        // A kernel without them reads pages one by one.
        let _ = madvise(address, length, Advice::LinuxHugepage);
        for offset in (0..read).step_by(STEP) {
            address.cast::<u8>().add(offset).read_volatile();
        }
        let needed = needed(std::slice::from_raw_parts(address.cast(), length));
        munmap(address, length)?;
        Ok((read, needed))
    }
}

/// What has to be there for this file to run: a script's interpreter, or a program's and its libraries' names.
fn needed(file: &[u8]) -> Vec<OsString> {
    if let Some(line) = file.strip_prefix(b"#!") {
        let line = &line[..line.len().min(256)];
        let mut words = line.split(|byte| byte.is_ascii_whitespace());
        let interpreter = words.find(|word| !word.is_empty());
        return Vec::from_iter(interpreter.map(name));
    }
    linked(file).unwrap_or_default()
}

fn linked(file: &[u8]) -> Option<Vec<OsString>> {
    let elf = ElfBytes::<NativeEndian>::minimal_parse(file).ok()?;
    let interpreter = elf
        .segments()?
        .iter()
        .find(|segment| segment.p_type == PT_INTERP)
        .and_then(|segment| elf.segment_data(&segment).ok())
        .and_then(|path| path.split(|byte| *byte == 0).next());
    let found = elf.find_common_data().ok()?;
    let (strings, dynamic) = (found.dynsyms_strs?, found.dynamic?);
    let libraries = dynamic
        .iter()
        .filter(|entry| entry.d_tag == DT_NEEDED)
        .take(FILES)
        .filter_map(|entry| strings.get_raw(entry.d_val() as usize).ok());
    Some(libraries.chain(interpreter).map(name).collect())
}

fn name(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this test itself is linked with, judged by the kernel's list of its mappings.
    #[test]
    fn a_program_needs_what_is_mapped_when_it_runs() {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("mappings");
        let mapped: BTreeSet<PathBuf> = maps
            .lines()
            .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])))
            .collect();
        let program = std::env::current_exe().expect("a path");
        let found: BTreeSet<PathBuf> = bring_in_with_libraries(program)
            .iter()
            .map(|path| path.canonicalize().expect("a file"))
            .collect();
        assert_eq!(found, mapped);
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
            .expect("a pipe");
        bring_in(&pipe, LARGEST).expect_err("no program");
    }

    #[test]
    fn a_script_needs_its_interpreter_and_other_files_nothing() {
        assert_eq!(needed(b"#! /bin/sh -e\nexit\n"), ["/bin/sh"]);
        for file in [&b""[..], b"#!", b"#!   ", b"text", b"\x7fELF\x02\x01\x01"] {
            assert!(needed(file).is_empty());
        }
    }
}
