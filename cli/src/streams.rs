//! The caller's standard streams, joined with a process's.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rvm_engine::monitor::protocol::Exit;
use rvm_engine::session::{Event, Input, Session};

use crate::detach_keys::Watch;
use crate::terminal;

/// The process's input, shared by what is typed and by the terminal's changes of size.
pub type SharedInput = Arc<Mutex<Input>>;

/// Sends standard input to the process until it ends, or until the keys of `watch` are typed; in a thread that nobody waits for.
/// The flag is set when they were, and then the session has ended.
pub fn send_stdin(input: SharedInput, mut watch: Option<Watch>) -> io::Result<Arc<AtomicBool>> {
    let left = Arc::new(AtomicBool::new(false));
    let leaving = left.clone();
    let send = move || {
        let mut stdin = io::stdin().lock();
        let mut bytes = vec![0; 32 << 10];
        loop {
            let result = match stdin.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => input
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .close()
                    .map(|()| false),
                Ok(length) => {
                    let (typed, leaves) = match &mut watch {
                        Some(watch) => watch.take(&bytes[..length]),
                        None => (bytes[..length].to_vec(), false),
                    };
                    let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
                    let written = input.write(&typed);
                    if leaves {
                        leaving.store(true, Ordering::Release);
                        // A session that has ended can't be left.
                        let _ = input.leave();
                    }
                    written.map(|()| !leaves)
                }
            };
            // A process that is gone takes no more; its end is told on the other way.
            if !matches!(result, Ok(true)) {
                return;
            }
        }
    };
    thread::Builder::new().name("stdin".into()).spawn(send)?;
    Ok(left)
}

/// Tells the process the terminal's size.
pub fn send_window(input: &SharedInput) {
    if let Some(window) = terminal::window()
        && let Err(error) = input
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .resize(window)
    {
        tracing::debug!(%error, "the terminal's size could not be told");
    }
}

/// Writes the process's output to the standard streams until the process has ended; `None` when it was lost.
pub fn receive(session: &mut Session) -> io::Result<Option<Exit>> {
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
    let mut broken = None;
    loop {
        let result = match session.next_event() {
            // Each chunk at once: what a process has written is not held back to wait for the end of a line.
            Event::Stdout(bytes) => stdout.write_all(&bytes).and_then(|()| stdout.flush()),
            Event::Stderr(bytes) => stderr.write_all(&bytes).and_then(|()| stderr.flush()),
            Event::Exited(exit) => return broken.map_or(Ok(Some(exit)), Err),
            Event::Lost => return Ok(None),
        };
        if let Err(error) = result
            && broken.is_none()
        {
            // As Docker: whoever reads our output has gone, and the process goes on until it notices itself.
            tracing::debug!(%error, "standard output can't be written");
            if error.kind() != io::ErrorKind::BrokenPipe {
                broken = Some(error);
            }
        }
    }
}
