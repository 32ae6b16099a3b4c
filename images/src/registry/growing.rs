//! A file that is read while it is still being written: the download in front, the converter behind.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A file, and how far it has come.
pub(super) struct Growing {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy)]
struct State {
    written: u64,
    /// Whether all has come, once nothing more will.
    end: Option<bool>,
    /// The reader wants no more.
    refused: bool,
}

impl Growing {
    /// The first `written` bytes are there.
    pub(super) fn new(file: File, written: u64) -> Self {
        Self {
            file,
            state: Mutex::new(State {
                written,
                end: None,
                refused: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Adds bytes; `false` when nobody wants them any more.
    pub(super) fn push(&self, bytes: &[u8]) -> io::Result<bool> {
        let at = self.state().written;
        self.file.write_all_at(bytes, at)?;
        let mut state = self.state();
        state.written += bytes.len() as u64;
        self.changed.notify_all();
        Ok(!state.refused)
    }

    /// Nothing more will come; `whole` tells whether all of it has.
    pub(super) fn end(&self, whole: bool) {
        self.state().end = Some(whole);
        self.changed.notify_all();
    }

    /// The reader has failed: the rest is not needed, and not waited for.
    pub(super) fn refuse(&self) {
        self.state().refused = true;
        self.changed.notify_all();
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Reads from the beginning, waiting for what has not come yet.
    pub(super) fn tail(&self) -> Tail<'_> {
        Tail {
            growing: self,
            at: 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader of a [`Growing`].
pub(super) struct Tail<'a> {
    growing: &'a Growing,
    at: u64,
}

impl Read for Tail<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.growing.state();
        while state.written == self.at {
            if state.refused {
                return Err(io::Error::other("the layer is refused"));
            }
            match state.end {
                Some(true) => return Ok(0),
                Some(false) => return Err(io::Error::other("the download has failed")),
                None => {
                    state = self
                        .growing
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        let there = usize::try_from(state.written - self.at).unwrap_or(usize::MAX);
        drop(state);
        let most = buf.len().min(there);
        let n = self.growing.file.read_at(&mut buf[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
