//! An installed OCI runtime that makes and runs a container in place of the agent, by the command line that they have in common.
//!
//! Its container's process is left to the agent, the first process of the sandbox, which keeps its streams and hears of its end.

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rvm_agent_protocol::{CreateOf, Failure, FailureKind};
use serde_json::Value;

use crate::runtime::terminal::speak_utf8;
use crate::spec::{Device, Process};
use crate::stdio;
use crate::stream::Ends;

/// The name by which the runtime knows the container.
const ID: &str = "container";
/// Where the runtime keeps what it knows.
const STATE: &str = "/run/oci";
/// The most of what a runtime says that is passed on.
const SAID: u64 = 4096;

/// A container of a runtime's.
pub struct OciRuntime {
    program: String,
    config: String,
    /// Which the configuration, that the host has written, does not know.
    devices: Vec<Device>,
    /// The bundle, in which the root file system is.
    folder: PathBuf,
}

impl OciRuntime {
    /// For the container in this folder, which has these devices beside its configuration's.
    pub fn new(
        runtime: rvm_agent_protocol::OciRuntime,
        devices: Vec<Device>,
        folder: &Path,
    ) -> Self {
        Self {
            program: runtime.program,
            config: runtime.config,
            devices,
            folder: folder.to_owned(),
        }
    }

    /// Makes the container, whose process waits for [`OciRuntime::start`].
    pub fn create(&self, request: &CreateOf<Process>) -> Result<(i32, Ends), Failure> {
        self.config(&request.process)
            .map_err(io::Error::from)
            .and_then(|config| fs::write(self.folder.join("config.json"), config))
            .map_err(|e| failed("its bundle could not be written", &e))?;
        let bundle = self.folder.to_string_lossy();
        let words = ["create", "--bundle", &bundle];
        self.run_with_streams(&words, &request.process, request.stdin)
            .map_err(|failure| about(failure, &request.process))
    }

    fn config(&self, process: &Process) -> serde_json::Result<String> {
        let mut config: Value = serde_json::from_str(&self.config)?;
        config["process"] = serde_json::to_value(process)?;
        if !self.devices.is_empty() {
            config["linux"]["devices"] = serde_json::to_value(&self.devices)?;
        }
        Ok(config.to_string())
    }

    /// Lets the container's process become its command.
    pub fn start(&self) -> Result<(), Failure> {
        let mut command = self.command();
        command.args(["start", ID]).stdin(Stdio::null());
        self.finish(command)
    }

    /// Runs a further process.
    pub fn exec(&self, process: &Process, stdin: bool) -> Result<(i32, Ends), Failure> {
        let file = self.folder.join("process.json");
        serde_json::to_vec(process)
            .map_err(io::Error::from)
            .and_then(|process| fs::write(&file, process))
            .map_err(|e| failed("the process could not be described", &e))?;
        let file = file.to_string_lossy();
        let words = ["exec", "--detach", "--process", &file];
        self.run_with_streams(&words, process, stdin)
            .map_err(|failure| about(failure, process))
    }

    /// Has the runtime make a process; its id and the agent's ends of its streams.
    fn run_with_streams(
        &self,
        words: &[&str],
        process: &Process,
        stdin: bool,
    ) -> Result<(i32, Ends), Failure> {
        let pid_file = self.folder.join("pid");
        let mut command = self.command();
        command.args(words).arg("--pid-file").arg(&pid_file);
        let streams = |e: io::Error| failed("the streams could not be made", &e);
        let ends = if process.terminal {
            let path = self.folder.join("console");
            let listener = UnixListener::bind(&path).map_err(streams)?;
            command.arg("--console-socket").arg(&path).arg(ID);
            command.stdin(Stdio::null());
            let ran = self.finish(command);
            let removed = fs::remove_file(&path);
            ran.and(removed.map_err(streams))?;
            // It is in the queue, with the terminal's master.
            let (socket, _) = listener.accept().map_err(streams)?;
            let ends = stdio::terminal(socket.as_fd(), stdin).map_err(streams)?;
            if let Some(terminal) = &ends.stdout {
                speak_utf8(terminal).map_err(streams)?;
            }
            ends
        } else {
            let (ends, [input, output, error]) =
                stdio::pipes(stdin, process.user.uid).map_err(streams)?;
            command.arg(ID);
            command.stdin(input).stdout(output).stderr(error);
            self.finish(command)?;
            ends
        };
        let pid = fs::read_to_string(&pid_file).ok();
        let pid = pid.and_then(|text| text.trim().parse().ok());
        let pid = pid.ok_or_else(|| {
            failed(
                "it has not told the process's id",
                &io::ErrorKind::InvalidData.into(),
            )
        })?;
        Ok((pid, ends))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["--root", STATE]);
        command.arg("--log").arg(self.log());
        command.current_dir("/");
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.join("runtime.log")
    }

    /// Runs the runtime to its end; what it says when it fails is the reason.
    fn finish(&self, mut command: Command) -> Result<(), Failure> {
        let _ = fs::remove_file(self.log());
        let status = command
            .status()
            .map_err(|e| failed(&format!("{} could not be run", self.program), &e))?;
        if status.success() {
            return Ok(());
        }
        let mut said = Vec::new();
        if let Ok(log) = fs::File::open(self.log()) {
            // Half a reason is better than none.
            let _ = log.take(SAID).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        Err(refused(
            &self.program,
            said.lines().next_back().unwrap_or(""),
        ))
    }
}

/// A runtime's words as a failure; which one, is known by what all runtimes say of it.
fn refused(program: &str, said: &str) -> Failure {
    let lower = said.to_lowercase();
    let kind = if lower.contains("not found") || lower.contains("no such file") {
        FailureKind::CommandNotFound
    } else if ["permission denied", "is a directory", "open executable"]
        .iter()
        .any(|words| lower.contains(words))
    {
        FailureKind::CommandNotExecutable
    } else {
        FailureKind::Other
    };
    Failure {
        kind,
        message: format!("{program}: {}", message(said)),
    }
}

/// The text in a line such as `time="..." level=error msg="..."`, or the line as it is.
fn message(line: &str) -> String {
    let Some((_, text)) = line.split_once("msg=\"") else {
        // crun's begin with a moment.
        let rest = line.split_once("Z: ").map_or(line, |(_, rest)| rest);
        return rest.trim().to_owned();
    };
    text.trim_end().trim_end_matches('"').replace("\\\"", "\"")
}

/// Not every runtime names the command that it can't run.
fn about(failure: Failure, process: &Process) -> Failure {
    match process.args.first() {
        Some(command)
            if failure.kind != FailureKind::Other && !failure.message.contains(command) =>
        {
            Failure {
                message: format!("exec: \"{command}\": {}", failure.message),
                ..failure
            }
        }
        _ => failure,
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure {
        kind: FailureKind::Other,
        message: format!("the OCI runtime: {what}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runtimes_say_decides_the_exit_code() {
        let runc = r#"time="2026-01-01T00:00:00Z" level=error msg="runc create failed: exec: \"no\": executable file not found in $PATH""#;
        let crun = "2026-01-01T00:00:00.1Z: executable file `no` not found in $PATH: No such file or directory";
        for (said, message) in [
            (
                runc,
                "runc create failed: exec: \"no\": executable file not found in $PATH",
            ),
            (
                crun,
                "executable file `no` not found in $PATH: No such file or directory",
            ),
        ] {
            let failure = refused("/bin/x", said);
            assert_eq!(failure.kind, FailureKind::CommandNotFound);
            assert_eq!(failure.message, format!("/bin/x: {message}"));
        }
        let failure = refused("/bin/x", "Z: open executable: Permission denied");
        assert_eq!(failure.kind, FailureKind::CommandNotExecutable);
    }
}
