//! Containers over a restart of the host: which of them come back, and the systemd unit that brings them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::signal::Stop;
use super::start::{Attach, StartError};
use super::{Engine, SignalError};
use crate::container::Container;
use crate::options::restart::RestartPolicy;
use crate::root::{Root, SYSTEM_ROOT};
use crate::state::{Database, DatabaseError};

/// Why the unit was not written or removed.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// There is no place for it.
    #[error("no folder for systemd units: neither XDG_CONFIG_HOME nor HOME is set")]
    Nowhere,
    /// The root folder's path can't stand in a unit.
    #[error(
        "the path {0} cannot stand in a systemd unit: use a root folder without quotes, % and line breaks in its path"
    )]
    Path(PathBuf),
    /// A file.
    #[error("cannot change the systemd unit {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Engine {
    /// Starts the containers that are to come back after a restart of the host; those that did not, and why.
    pub fn start_after_boot(&self) -> Result<Vec<(Container, StartError)>, DatabaseError> {
        let mut failed = Vec::new();
        // In the order in which they were made.
        for container in self.database.containers()?.into_iter().rev() {
            if !comes_back(&container) {
                continue;
            }
            match self.start(&container, Attach::default()) {
                Ok(_) | Err(StartError::AlreadyRunning(_)) => {}
                Err(error) => failed.push((container, error)),
            }
        }
        Ok(failed)
    }

    /// Ends all containers before the host goes, without their counting as stopped by somebody; those that did not, and why.
    pub fn stop_before_shutdown(&self) -> Result<Vec<(Container, SignalError)>, DatabaseError> {
        let running: Vec<Container> = self.database.in_hand()?;
        let root = &self.root;
        // A connection to the database is for one thread.
        let stop = move |container: Container| {
            let root = root.clone();
            let ended = Database::open(&root.database())
                .map_err(SignalError::from)
                .and_then(|database| {
                    let engine = Engine { root, database };
                    engine.end_for_restart(&container, Stop::default())
                });
            ended.err().map(|error| (container, error))
        };
        let failed = std::thread::scope(|scope| {
            let stops: Vec<_> = running
                .into_iter()
                .filter(|container| container.state.is_active())
                .map(|container| scope.spawn(move || stop(container)))
                .collect();
            stops
                .into_iter()
                .filter_map(|stop| stop.join().ok().flatten())
                .collect()
        });
        Ok(failed)
    }
}

/// Docker's rules: whatever stands in `always` comes back, also what was stopped.
fn comes_back(container: &Container) -> bool {
    let ended_badly = container.exit_code.is_some_and(|code| code != 0);
    !container.state.is_active()
        && container.started.is_some()
        && match container.settings.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !container.manually_stopped,
            RestartPolicy::OnFailure(most) => {
                ended_badly
                    && !container.manually_stopped
                    && most.is_none_or(|most| container.restart_count < most)
            }
        }
}

/// Writes the unit that brings containers back, and has it started with the system; its path.
pub fn enable(root: &Root) -> Result<PathBuf, UnitError> {
    let unit = Unit::of(root)?;
    let program = std::env::current_exe()
        .and_then(fs::canonicalize)
        .map_err(unit.error())?;
    let text = unit.text(&program, root.path())?;
    let wants = unit.wants();
    let folder = wants.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&unit.path, text))
        .map_err(unit.error())?;
    match std::os::unix::fs::symlink(&unit.path, &wants) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(unit.error()(error));
        }
        _ => {}
    }
    unit.reload();
    Ok(unit.path)
}

/// Removes the unit; whether there was one.
pub fn disable(root: &Root) -> Result<bool, UnitError> {
    let unit = Unit::of(root)?;
    let mut found = false;
    for path in [unit.wants(), unit.path.clone()] {
        match fs::remove_file(&path) {
            Ok(()) => found = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unit.error()(error)),
        }
    }
    unit.reload();
    Ok(found)
}

struct Unit {
    path: PathBuf,
    /// The target with which it is started.
    target: &'static str,
    user: bool,
}

impl Unit {
    fn of(root: &Root) -> Result<Self, UnitError> {
        let user = !rustix::process::geteuid().is_root();
        let folder = match user {
            false => PathBuf::from("/etc/systemd/system"),
            true => user_folder().ok_or(UnitError::Nowhere)?,
        };
        let name = match root.path().to_str() {
            Some(SYSTEM_ROOT) => "rvm.service".to_owned(),
            _ => format!("rvm-{}.service", root.tag()),
        };
        Ok(Self {
            path: folder.join(name),
            target: if user {
                "default.target"
            } else {
                "multi-user.target"
            },
            user,
        })
    }

    fn wants(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default();
        self.path
            .with_file_name(format!("{}.wants", self.target))
            .join(name)
    }

    fn text(&self, program: &Path, root: &Path) -> Result<String, UnitError> {
        let quoted = |path: &Path| {
            path.to_str()
                .filter(|text| !text.contains(['"', '\\', '%', '\n', '$']))
                .map(|text| format!("\"{text}\""))
                .ok_or_else(|| UnitError::Path(path.to_owned()))
        };
        let (program, root, target) = (quoted(program)?, quoted(root)?, self.target);
        Ok(format!(
            "[Unit]\n\
             Description=Containers of rvm in {root}\n\
             Wants=network-online.target\n\
             After=network-online.target\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             RemainAfterExit=yes\n\
             TimeoutStartSec=infinity\n\
             ExecStart={program} --root {root} boot\n\
             ExecStop={program} --root {root} boot --stop\n\
             KillMode=mixed\n\
             \n\
             [Install]\n\
             WantedBy={target}\n"
        ))
    }

    /// Has a systemd that runs see the change; one that does not sees it when it starts.
    fn reload(&self) {
        if !Path::new("/run/systemd/system").exists() {
            return;
        }
        let mut command = Command::new("systemctl");
        if self.user {
            command.arg("--user");
        }
        let told = command
            .arg("daemon-reload")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !told.is_ok_and(|status| status.success()) {
            tracing::warn!("systemd was not told: run 'systemctl daemon-reload'");
        }
    }

    fn error(&self) -> impl Fn(io::Error) -> UnitError + use<> {
        let path = self.path.clone();
        move |source| UnitError::File {
            path: path.clone(),
            source,
        }
    }
}

fn user_folder() -> Option<PathBuf> {
    let folder = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
    Some(config.join("systemd/user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_unit_would_read_otherwise_is_refused() {
        let unit = Unit {
            path: "/etc/systemd/system/rvm.service".into(),
            target: "multi-user.target",
            user: false,
        };
        let text = unit.text(Path::new("/usr/bin/rvm"), Path::new("/a b"));
        let text = text.expect("text");
        assert!(text.contains("ExecStart=\"/usr/bin/rvm\" --root \"/a b\" boot\n"));
        assert!(unit.text(Path::new("/rvm"), Path::new("/a%b")).is_err());
        let wants = "/etc/systemd/system/multi-user.target.wants/rvm.service";
        assert_eq!(unit.wants(), Path::new(wants));
    }
}
