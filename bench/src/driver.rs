//! Running `rvm` as a user does, and taking the time of it.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

/// Why something can't be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be run.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It failed.
    #[error("'{command}' failed: {reason}")]
    Failed {
        /// What was run.
        command: String,
        /// What it said.
        reason: String,
        /// Its exit code.
        code: Option<i32>,
    },
    /// It printed something unexpected.
    #[error("cannot make sense of what '{command}' printed")]
    Answer {
        /// What was run.
        command: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The program inside ended.
    #[error("the workload of {target} ended: {reason}")]
    Ended {
        /// The target.
        target: &'static str,
        /// What it said.
        reason: String,
    },
    /// There is no other end.
    #[error("cannot talk over the network with the workload of {target}")]
    Network {
        /// The target.
        target: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The user wants no more of it.
    #[error("interrupted")]
    Interrupted,
}

/// `rvm`, and what it is given each time.
#[derive(Clone, Debug)]
pub struct Driver {
    /// The program.
    pub rvm: PathBuf,
    /// Its root folder.
    pub root: PathBuf,
    /// The program that is put inside.
    pub workload: PathBuf,
}

impl Driver {
    /// The program, with arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.rvm);
        command.arg("--root").arg(&self.root).args(arguments);
        command
    }

    /// Runs it to its end; its standard output, trimmed.
    pub fn text(&self, arguments: &[&str]) -> Result<String, Error> {
        let output = finish(&mut self.command(arguments), &shown(arguments))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs it to its end; what it printed, as JSON.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T, Error> {
        let text = self.text(arguments)?;
        serde_json::from_str(&text).map_err(|source| Error::Answer {
            command: shown(arguments),
            source,
        })
    }

    /// Runs it to its end; how long that took.
    pub fn time(&self, arguments: &[&str]) -> Result<Duration, Error> {
        time(&mut self.command(arguments), &shown(arguments))
    }

    /// Removes containers, whatever they do; one that is gone is as good.
    pub fn remove(&self, names: &[&str]) {
        let arguments = [&["rm", "--force"], names].concat();
        let _ = self.text(&arguments);
    }
}

/// A command as a user would type it.
pub fn shown(arguments: &[&str]) -> String {
    format!("rvm {}", arguments.join(" "))
}

/// Runs a command to its end; how long that took.
pub fn time(command: &mut Command, shown: &str) -> Result<Duration, Error> {
    let begin = Instant::now();
    finish(command, shown)?;
    Ok(begin.elapsed())
}

/// Runs a command to its end, without standard input; what it printed.
pub fn finish(command: &mut Command, shown: &str) -> Result<Output, Error> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|source| Error::Run {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().lines().last().unwrap_or_default();
    Err(Error::Failed {
        command: shown.to_owned(),
        reason: match said {
            "" => output.status.to_string(),
            said => said
                .trim_start_matches("rvm: ")
                .trim_end_matches('.')
                .to_owned(),
        },
        code: output.status.code(),
    })
}
