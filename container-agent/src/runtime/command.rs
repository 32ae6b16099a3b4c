//! Finding a process's command and becoming it.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, CWD, FileType};
use rustix::io::Errno;
use rvm_agent_protocol::{Failure, FailureKind};

use crate::spec::Process;

/// Where commands are looked up when the environment has no PATH.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that is ready to run.
pub struct Command {
    path: CString,
    arguments: Strings,
    environment: Strings,
}

/// A list of strings as the kernel takes it.
struct Strings {
    pointers: Vec<*const libc::c_char>,
    /// What the pointers, of which the last is null, point to.
    _strings: Vec<CString>,
}

impl Strings {
    fn new(list: &[String]) -> Result<Self, std::ffi::NulError> {
        let strings = list.iter().map(|text| CString::new(text.as_bytes()));
        let strings = strings.collect::<Result<Vec<_>, _>>()?;
        let pointers = strings.iter().map(|text| text.as_ptr());
        Ok(Self {
            pointers: pointers.chain([std::ptr::null()]).collect(),
            _strings: strings,
        })
    }
}

impl Command {
    /// Looks up the command of `process`, as the user and in the root and folder of the caller.
    pub fn find(process: &Process) -> Result<Self, Failure> {
        let name = process.args.first().map_or("", String::as_str);
        let path = find(name, process.variable("PATH").unwrap_or(DEFAULT_PATH))?;
        let found = CString::new(path.as_os_str().as_bytes()).and_then(|path| {
            Ok(Self {
                path,
                arguments: Strings::new(&process.args)?,
                environment: Strings::new(&process.env)?,
            })
        });
        found.map_err(|_| Failure {
            kind: FailureKind::CommandNotExecutable,
            message: format!("exec: {name:?}: an argument or a variable contains a zero byte"),
        })
    }

    /// Becomes the command; allocates nothing for it. Returns only why it could not.
    pub fn execute(&self) -> Failure {
        let (arguments, environment) = (&self.arguments.pointers, &self.environment.pointers);
        crate::child::unblock_signals();
        // SAFETY: the path is a C string, both lists are null-terminated arrays of C strings, and all of it outlives the call.
        unsafe { libc::execve(self.path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        let error = io::Error::last_os_error();
        let kind = match error.kind() {
            io::ErrorKind::NotFound => FailureKind::CommandNotFound,
            _ => FailureKind::CommandNotExecutable,
        };
        Failure {
            kind,
            message: format!("exec {}: {}", self.path.to_string_lossy(), reason(&error)),
        }
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
    let candidates = search
        .split(':')
        .map(|folder| Path::new(if folder.is_empty() { "." } else { folder }).join(name));
    let found = Some(name)
        .filter(|name| !name.is_empty())
        .and_then(|_| candidates.into_iter().find(|p| check(p).is_ok()));
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

/// The system's words for an error, without its number, in lower case.
pub fn reason(error: &io::Error) -> String {
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
        for (name, mode) in [
            ("first/plain", 0o644),
            ("first/tool", 0o644),
            ("second/tool", 0o755),
        ] {
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
        assert_eq!(
            find("tool", &search).expect("found"),
            tree.path().join("second/tool")
        );
        assert_eq!(kind(find("plain", &search)).0, FailureKind::CommandNotFound);
    }

    #[test]
    fn what_is_missing_is_named_as_docker_names_it() {
        let message = "exec: \"foo\": executable file not found in $PATH".to_owned();
        assert_eq!(
            kind(find("foo", "/bin:/nowhere")),
            (FailureKind::CommandNotFound, message)
        );
        let message = "exec: \"/foo\": stat /foo: no such file or directory".to_owned();
        assert_eq!(
            kind(find("/foo", "/bin")),
            (FailureKind::CommandNotFound, message)
        );
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
