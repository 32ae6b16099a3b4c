//! The last step of a container's process: finding the command and becoming it, or telling the agent why not.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{Access, CWD, FileType};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rvm_agent_protocol::{Failure, FailureKind};

/// Where commands are looked up when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The agent's end of the pipe on which a process reports why it could not become its command.
pub struct Report(File);

impl Report {
    /// Makes a pipe; the second end is for [`Command`] and closes when the command runs.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Self(read.into()), write))
    }

    /// What was reported, if anything, once every holder of the other end has closed it or become the command.
    pub fn wait(mut self) -> Option<Failure> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).ok()?;
        decode(&bytes)
    }

    /// What has been reported so far.
    pub fn so_far(&mut self) -> Option<Failure> {
        rustix::io::ioctl_fionbio(&self.0, true).ok()?;
        let mut bytes = vec![0; 4096];
        let length = self.0.read(&mut bytes).ok()?;
        decode(&bytes[..length])
    }
}

fn decode(bytes: &[u8]) -> Option<Failure> {
    let (kind, message) = bytes.split_first()?;
    let kind = match kind {
        0 => FailureKind::CommandNotFound,
        _ => FailureKind::CommandNotExecutable,
    };
    Some(Failure { kind, message: String::from_utf8_lossy(message).into_owned() })
}

/// Makes a process of libcontainer's the command of its specification.
#[derive(Clone)]
pub struct Command {
    report: RawFd,
    found: OnceCell<PathBuf>,
}

impl Command {
    /// Reports to `report`, which has to stay open until libcontainer has forked.
    pub fn new(report: &OwnedFd) -> Self {
        Self { report: report.as_raw_fd(), found: OnceCell::new() }
    }

    fn fail(&self, failure: &Failure) {
        // SAFETY: the descriptor was open when this process was forked, and nothing in it closes it.
        let report = unsafe { BorrowedFd::borrow_raw(self.report) };
        let mut bytes = vec![u8::from(failure.kind != FailureKind::CommandNotFound)];
        bytes.extend_from_slice(failure.message.as_bytes());
        // Without the report the agent still learns that the process has failed.
        let _ = rustix::io::write(report, &bytes);
    }
}

impl Executor for Command {
    /// Runs as the container's user, in its root and working directory.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let found = spec.process().as_ref().map(|process| {
            let name = argument(process, 0);
            find(name, variable(process, "PATH").unwrap_or(DEFAULT_PATH)).inspect_err(|failure| self.fail(failure))
        });
        match found {
            Some(Ok(path)) => {
                let _ = self.found.set(path);
                Ok(())
            }
            Some(Err(failure)) => Err(ExecutorValidationError::ArgValidationError(failure.message)),
            None => Err(ExecutorValidationError::ArgValidationError("no process in the specification".into())),
        }
    }

    /// The environment goes to execve as it stands in the specification.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (Some(process), Some(path)) = (spec.process(), self.found.get()) else {
            return Err(ExecutorError::InvalidArg);
        };
        let error = execute(path, process);
        let kind = match error.kind() {
            io::ErrorKind::NotFound => FailureKind::CommandNotFound,
            _ => FailureKind::CommandNotExecutable,
        };
        let message = format!("exec {}: {}", path.display(), reason(&error));
        self.fail(&Failure { kind, message: message.clone() });
        Err(ExecutorError::Other(message))
    }
}

/// Looks a command up as Docker does: a name with a slash is a path, another one is searched for in `search`.
pub fn find(name: &str, search: &str) -> Result<PathBuf, Failure> {
    if name.contains('/') {
        return match check(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(Failure {
                kind: FailureKind::CommandNotFound,
                message: format!("exec: \"{name}\": stat {name}: no such file or directory"),
            }),
            Err(e) => Err(Failure {
                kind: FailureKind::CommandNotExecutable,
                message: format!("exec: \"{name}\": {}", reason(&e.into())),
            }),
        };
    }
    let candidates = search.split(':').map(|folder| Path::new(if folder.is_empty() { "." } else { folder }).join(name));
    let found = Some(name).filter(|name| !name.is_empty()).and_then(|_| candidates.into_iter().find(|p| check(p).is_ok()));
    found.ok_or_else(|| Failure {
        kind: FailureKind::CommandNotFound,
        message: format!("exec: \"{name}\": executable file not found in $PATH"),
    })
}

fn check(path: &Path) -> Result<(), Errno> {
    let kind = FileType::from_raw_mode(rustix::fs::stat(path)?.st_mode);
    if kind == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, rustix::fs::AtFlags::empty())
}

fn execute(path: &Path, process: &Process) -> io::Error {
    let strings = |list: &Option<Vec<String>>| -> Result<Vec<CString>, std::ffi::NulError> {
        list.iter().flatten().map(|text| CString::new(text.as_bytes())).collect()
    };
    let (Ok(path), Ok(arguments), Ok(environment)) =
        (CString::new(path.as_os_str().as_bytes()), strings(process.args()), strings(process.env()))
    else {
        return io::ErrorKind::InvalidInput.into();
    };
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    crate::child::unblock_signals();
    // SAFETY: the path is a C string, both lists are null-terminated arrays of C strings, and all of it outlives the call.
    unsafe { libc::execve(path.as_ptr(), pointers(&arguments).as_ptr(), pointers(&environment).as_ptr()) };
    io::Error::last_os_error()
}

fn argument(process: &Process, index: usize) -> &str {
    process.args().as_ref().and_then(|args| args.get(index)).map_or("", String::as_str)
}

/// The value of an environment variable of the process.
pub fn variable<'a>(process: &'a Process, name: &str) -> Option<&'a str> {
    let assignments = process.env().iter().flatten();
    assignments.filter_map(|text| text.split_once('=')).filter(|(n, _)| *n == name).map(|(_, value)| value).next_back()
}

/// The system's words for an error, without its number, in lower case.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, mode) in [("first/plain", 0o644), ("first/tool", 0o644), ("second/tool", 0o755)] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(&path, "").expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
        }
        folder
    }

    fn kind(result: Result<PathBuf, Failure>) -> (FailureKind, String) {
        let failure = result.expect_err("no command");
        (failure.kind, failure.message)
    }

    #[test]
    fn the_first_executable_in_the_path_is_taken() {
        let tree = tree();
        let at = |name: &str| tree.path().join(name).display().to_string();
        let search = format!("/nowhere:{}:{}", at("first"), at("second"));
        assert_eq!(find("tool", &search).expect("found"), tree.path().join("second/tool"));
        assert_eq!(kind(find("plain", &search)).0, FailureKind::CommandNotFound);
    }

    #[test]
    fn what_is_missing_is_named_as_docker_names_it() {
        let message = "exec: \"foo\": executable file not found in $PATH".to_owned();
        assert_eq!(kind(find("foo", "/bin:/nowhere")), (FailureKind::CommandNotFound, message));
        let message = "exec: \"/foo\": stat /foo: no such file or directory".to_owned();
        assert_eq!(kind(find("/foo", "/bin")), (FailureKind::CommandNotFound, message));
        assert_eq!(kind(find("", "/bin")).0, FailureKind::CommandNotFound);
    }

    #[test]
    fn what_cannot_be_executed_is_said_to_be_so() {
        let tree = tree();
        let path = tree.path().join("first").display().to_string();
        let (kind_of_folder, message) = kind(find(&path, ""));
        assert_eq!(kind_of_folder, FailureKind::CommandNotExecutable);
        assert!(message.ends_with("is a directory"), "{message}");
        let (kind_of_file, message) = kind(find(&format!("{path}/plain"), ""));
        assert_eq!(kind_of_file, FailureKind::CommandNotExecutable);
        assert!(message.ends_with("permission denied"), "{message}");
    }
}
