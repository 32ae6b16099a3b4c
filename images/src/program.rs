//! Decompression by another program, for what no layer may be compressed with but tarballs are.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

/// Why a program gave nothing of use.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It could not be started.
    #[error("the program {program}, which is to decompress it, cannot be run: install it")]
    Start {
        /// Its name.
        program: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{program} cannot decompress it: {message}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// What it said.
        message: String,
    },
}

/// Lets `work` read what `program` makes of `from`; the program's failure comes before that of `work`.
pub(crate) fn decompressed<R, E: From<ProgramError>>(
    program: &'static str,
    from: impl Read + Send,
    work: impl FnOnce(ChildStdout) -> Result<R, E>,
) -> Result<R, E> {
    let start = |source| ProgramError::Start { program, source };
    let mut child = Command::new(program)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(start(io::ErrorKind::BrokenPipe.into()).into());
    };
    let result = thread::scope(|scope| {
        scope.spawn(move || {
            let (mut from, mut stdin) = (from, stdin);
            // A program that stops reading says why at its end.
            io::copy(&mut from, &mut stdin)
        });
        work(stdout)
    });
    // What `work` has left unread it has closed: the program cannot wait for ever.
    end(program, child, result.is_ok())?;
    result
}

fn end(program: &'static str, child: Child, must_succeed: bool) -> Result<(), ProgramError> {
    let output = child
        .wait_with_output()
        .map_err(|source| ProgramError::Start { program, source })?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let message: String = stderr.trim().escape_debug().take(300).collect();
    // Without a word it was ended because nobody read any more.
    if output.status.success() || (message.is_empty() && !must_succeed) {
        return Ok(());
    }
    Err(ProgramError::Failed { program, message })
}
