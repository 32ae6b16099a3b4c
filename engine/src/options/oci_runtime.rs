//! What makes and runs a container: `--runtime`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The variable that says which runtime a container gets that doesn't say.
pub const VARIABLE: &str = "RVM_RUNTIME";

/// The name of rvm's own.
pub const OWN: &str = "rvm";

/// A runtime that is not there.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown or invalid runtime name: {0}: give the name of an installed OCI runtime such as crun or runc, or its path"
)]
pub struct UnknownRuntime(String);

/// The program of a runtime by its name or path, or by what [`VARIABLE`] says; `None` for rvm's own.
pub fn find(asked: Option<&str>) -> Result<Option<PathBuf>, UnknownRuntime> {
    let default = || std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
    let Some(name) = asked.map(str::to_owned).or_else(default) else {
        return Ok(None);
    };
    if name == OWN {
        return Ok(None);
    }
    let found = match name.contains('/') {
        true => std::path::absolute(&name).ok(),
        false => std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path)
                .map(|folder| folder.join(&name))
                .find(|program| is_program(program))
        }),
    };
    let found = found.filter(|program| is_program(program));
    found.map(Some).ok_or(UnknownRuntime(name))
}

fn is_program(path: &Path) -> bool {
    let found = std::fs::metadata(path);
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_found_by_name_and_path() {
        assert_eq!(find(Some(OWN)).expect("its own"), None);
        assert_eq!(
            find(Some("/bin/sh")).expect("a program"),
            Some("/bin/sh".into())
        );
        let found = find(Some("sh")).expect("a program").expect("a path");
        assert!(found.is_absolute() && found.ends_with("sh"));
        for missing in ["no-such-runtime", "/no/such/runtime", "/etc/passwd", "/bin"] {
            assert!(find(Some(missing)).is_err(), "{missing}");
        }
    }
}
