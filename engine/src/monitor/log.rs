//! A container's log in Docker's json-file format: one JSON object for each line of output.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest line that stands in one entry; longer ones are cut, as Docker cuts them.
const LINE_LIMIT: usize = 16 << 10;

/// One of a container's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// A line with its line break, or a piece of one. What is not UTF-8 is replaced.
    pub log: String,
    /// Where it was written.
    pub stream: Stream,
    /// When it was received, as RFC 3339 has it.
    pub time: String,
}

/// Writes a log.
#[derive(Debug)]
pub struct Log {
    file: File,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    failed: bool,
}

impl Log {
    /// Goes on with the log at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)?;
        Ok(Self {
            file,
            stdout: Vec::new(),
            stderr: Vec::new(),
            failed: false,
        })
    }

    /// Takes output; whole lines go to the file with one write. A file that can't be written ends nothing but the log.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let pending = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        pending.extend_from_slice(bytes);
        let mut text = Vec::new();
        let mut begin = 0;
        while let Some(length) = entry_length(&pending[begin..]) {
            append(&mut text, stream, &pending[begin..begin + length]);
            begin += length;
        }
        pending.drain(..begin);
        self.put(&text);
    }

    /// Writes what is left: lines without an end.
    pub fn finish(&mut self) {
        let mut text = Vec::new();
        for (stream, pending) in [
            (Stream::Stdout, &mut self.stdout),
            (Stream::Stderr, &mut self.stderr),
        ] {
            if !pending.is_empty() {
                append(&mut text, stream, pending);
                pending.clear();
            }
        }
        self.put(&text);
    }

    fn put(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        match self.file.write_all(text) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                tracing::error!(%error, "the container's log can't be written; output is lost to it");
                self.failed = true;
            }
            Err(_) => {}
        }
    }
}

/// The length of the first entry that is complete: a line, or as much of one as an entry holds.
fn entry_length(bytes: &[u8]) -> Option<usize> {
    let limit = &bytes[..bytes.len().min(LINE_LIMIT)];
    match limit.iter().position(|byte| *byte == b'\n') {
        Some(end) => Some(end + 1),
        None if bytes.len() < LINE_LIMIT => None,
        None => Some(character_boundary(limit)),
    }
}

/// Where to cut a long line so that no UTF-8 character is cut: before one that is not complete.
fn character_boundary(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

fn append(text: &mut Vec<u8>, stream: Stream, line: &[u8]) {
    let entry = Entry {
        log: String::from_utf8_lossy(line).into_owned(),
        stream,
        time: format!("{:.9}", Timestamp::now()),
    };
    // Writing strings to memory can't fail.
    let _ = serde_json::to_writer(&mut *text, &entry);
    text.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(writes: &[(Stream, &[u8])]) -> Vec<(Stream, String)> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let mut log = Log::open(&path).expect("log");
        for (stream, bytes) in writes {
            log.write(*stream, bytes);
        }
        log.finish();
        let text = std::fs::read_to_string(path).expect("text");
        let entries = text
            .lines()
            .map(|line| serde_json::from_str::<Entry>(line).expect("an entry"));
        entries.map(|entry| (entry.stream, entry.log)).collect()
    }

    #[test]
    fn lines_are_put_together_for_each_stream() {
        use Stream::{Stderr, Stdout};
        let entries = written(&[(Stdout, b"a"), (Stderr, b"x\ny"), (Stdout, b"b\n\nc")]);
        let expected = [
            (Stderr, "x\n"),
            (Stdout, "ab\n"),
            (Stdout, "\n"),
            (Stdout, "c"),
            (Stderr, "y"),
        ];
        assert_eq!(
            entries,
            expected.map(|(stream, text)| (stream, text.to_owned()))
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = format!("x{}\n", "é".repeat(LINE_LIMIT));
        let entries = written(&[(Stream::Stdout, line.as_bytes())]);
        assert_eq!(entries.len(), 3);
        assert_eq!(
            entries
                .iter()
                .map(|(_, text)| text.as_str())
                .collect::<String>(),
            line
        );
    }
}
