//! The log of a serial console: the newest output in memory, and in a file that stays below a limit.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much of the output is kept in memory, in bytes.
pub const MEMORY_LIMIT: usize = 64 << 10;

/// Output is written to the file a line at a time, or earlier when a line is longer than this.
const LINE_BUFFER: usize = 1024;

/// A console's output; clones are the same log.
#[derive(Clone)]
pub struct ConsoleLog(Arc<Mutex<Log>>);

struct Log {
    recent: VecDeque<u8>,
    file: Option<LogFile>,
}

impl ConsoleLog {
    /// A log in memory only.
    pub fn in_memory() -> Self {
        Self::new(None)
    }

    /// A log that is also appended to `file`, which it keeps at `limit` bytes at most.
    pub fn with_file(file: File, limit: u64) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let mut file = LogFile {
            file,
            limit,
            end,
            pending: Vec::with_capacity(LINE_BUFFER),
        };
        if end > limit {
            file.drop_oldest()?;
        }
        Ok(Self::new(Some(file)))
    }

    fn new(file: Option<LogFile>) -> Self {
        Self(Arc::new(Mutex::new(Log {
            recent: VecDeque::new(),
            file,
        })))
    }

    /// The last `count` lines of the output, as far as they are still in memory.
    pub fn last_lines(&self, count: usize) -> String {
        let mut log = self.lock();
        let recent = log.recent.make_contiguous();
        let text = String::from_utf8_lossy(recent);
        let text = text.trim_end();
        let start = match count.checked_sub(1) {
            None => text.len(),
            Some(before) => text
                .rmatch_indices('\n')
                .nth(before)
                .map_or(0, |(at, _)| at + 1),
        };
        text[start..].replace('\r', "")
    }

    /// Writes what is left of an unfinished line to the file. It is also done when the log goes.
    pub fn sync(&self) {
        if let Some(file) = &mut self.lock().file {
            file.write_pending();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for ConsoleLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.lock();
        for &byte in bytes {
            if log.recent.len() == MEMORY_LIMIT {
                log.recent.pop_front();
            }
            log.recent.push_back(byte);
            if let Some(file) = &mut log.file {
                file.push(byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // The UART flushes after each byte; the file gets whole lines.
        Ok(())
    }
}

struct LogFile {
    file: File,
    limit: u64,
    end: u64,
    pending: Vec<u8>,
}

impl LogFile {
    fn push(&mut self, byte: u8) {
        self.pending.push(byte);
        if byte == b'\n' || self.pending.len() == LINE_BUFFER {
            self.write_pending();
        }
    }

    /// What can't be written is lost: a full disk must not stop the guest.
    fn write_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let last_start = self.limit.saturating_sub(pending.len() as u64);
        if self.end > last_start {
            // When it fails, so does the check below, and the next line tries again.
            let _ = self.drop_oldest();
        }
        if self.end <= last_start && self.file.write_all_at(&pending, self.end).is_ok() {
            self.end += pending.len() as u64;
        }
        self.pending = pending;
        self.pending.clear();
    }

    /// Moves the newest half of what the file may hold to its start, from the beginning of a line on.
    fn drop_oldest(&mut self) -> io::Result<()> {
        let keep = (self.limit / 2).min(self.end);
        let mut newest = vec![0; usize::try_from(keep).unwrap_or(0)];
        self.file.read_exact_at(&mut newest, self.end - keep)?;
        let start = newest
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1);
        let newest = &newest[start..];
        self.file.write_all_at(newest, 0)?;
        self.file.set_len(newest.len() as u64)?;
        self.end = newest.len() as u64;
        Ok(())
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.write_pending();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_the_last() {
        let mut log = ConsoleLog::in_memory();
        log.write_all(b"one\r\ntwo\r\nthree\r\n").unwrap();
        assert_eq!(log.last_lines(2), "two\nthree");
        assert_eq!(log.last_lines(9), "one\ntwo\nthree");
        assert_eq!(log.last_lines(0), "");
    }

    #[test]
    fn memory_is_bounded() {
        let mut log = ConsoleLog::in_memory();
        log.write_all(&vec![b'x'; 3 * MEMORY_LIMIT]).unwrap();
        assert_eq!(log.last_lines(1).len(), MEMORY_LIMIT);
    }

    #[test]
    fn the_file_stays_below_its_limit_and_keeps_the_newest_lines() {
        let file = tempfile::tempfile().unwrap();
        let mut log = ConsoleLog::with_file(file.try_clone().unwrap(), 1000).unwrap();
        for line in 0..500 {
            log.write_all(format!("line {line}\n").as_bytes()).unwrap();
            assert!(file.metadata().unwrap().len() <= 1000);
        }
        log.write_all(b"unfinished").unwrap();
        log.sync();
        let mut text = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut text, 0).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("line "), "{text}");
        assert!(text.ends_with("line 499\nunfinished"), "{text}");
    }

    #[test]
    fn a_file_that_is_too_long_is_cut_at_the_start() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at("0123456789\n".repeat(100).as_bytes(), 0)
            .unwrap();
        let _log = ConsoleLog::with_file(file.try_clone().unwrap(), 500).unwrap();
        assert!(file.metadata().unwrap().len() <= 250);
    }
}
