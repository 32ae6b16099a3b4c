//! Writing a log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::files::Files;
use super::{Entry, LogOptions, Stream};

/// The longest line that stands in one entry; longer ones are cut, as Docker cuts them.
const LINE_LIMIT: usize = 16 << 10;

/// Writes a log.
#[derive(Debug)]
pub struct Log {
    out: Option<Out>,
    details: BTreeMap<String, String>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    failed: bool,
}

/// The newest file.
#[derive(Debug)]
struct Out {
    path: PathBuf,
    file: File,
    length: u64,
    max_size: Option<u64>,
    max_files: u32,
}

impl Log {
    /// Goes on with the log at `path`; with each entry goes what `details` say.
    pub fn open(
        path: &Path,
        options: &LogOptions,
        details: BTreeMap<String, String>,
    ) -> io::Result<Self> {
        let out = match options.to_files {
            true => Some(Out::open(path, options)?),
            false => None,
        };
        Ok(Self {
            out,
            details,
            stdout: Vec::new(),
            stderr: Vec::new(),
            failed: false,
        })
    }

    /// Takes output; whole lines go to the file with one write. A file that can't be written ends nothing but the log.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.out.is_none() {
            return;
        }
        let mut pending = std::mem::take(self.pending(stream));
        pending.extend_from_slice(bytes);
        let mut text = Vec::new();
        let mut begin = 0;
        while let Some(length) = entry_length(&pending[begin..]) {
            self.append(&mut text, stream, &pending[begin..begin + length]);
            begin += length;
        }
        pending.drain(..begin);
        *self.pending(stream) = pending;
        self.put(&text);
    }

    fn pending(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Writes what is left: lines without an end.
    pub fn finish(&mut self) {
        let mut text = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = std::mem::take(self.pending(stream));
            if !pending.is_empty() {
                self.append(&mut text, stream, &pending);
            }
        }
        self.put(&text);
    }

    fn append(&self, text: &mut Vec<u8>, stream: Stream, line: &[u8]) {
        let entry = Entry {
            log: String::from_utf8_lossy(line).into_owned(),
            stream,
            details: self.details.clone(),
            time: format!("{:.9}", Timestamp::now()),
        };
        // Writing strings to memory can't fail.
        let _ = serde_json::to_writer(&mut *text, &entry);
        text.push(b'\n');
    }

    fn put(&mut self, text: &[u8]) {
        let Some(out) = &mut self.out else { return };
        if text.is_empty() {
            return;
        }
        match out.put(text) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                tracing::error!(%error, "the container's log can't be written; output is lost to it");
                self.failed = true;
            }
            Err(_) => {}
        }
    }
}

impl Out {
    fn open(path: &Path, options: &LogOptions) -> io::Result<Self> {
        let (file, length) = open_newest(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            max_size: options.max_size,
            max_files: options.max_files,
        })
    }

    /// Writes entries, and begins another file when this one is full.
    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        // Several lines that came at once may be more than a file shall hold.
        for entry in text.split_inclusive(|byte| *byte == b'\n') {
            if self.max_size.is_some_and(|most| self.length >= most) {
                Files::new(&self.path).rotate(self.max_files)?;
                (self.file, self.length) = open_newest(&self.path)?;
            }
            if self.max_size.is_some() {
                self.write(entry)?;
            }
        }
        match self.max_size {
            Some(_) => Ok(()),
            None => self.write(text),
        }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(text) {
            // Half an entry would spoil the next one as well.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += text.len() as u64;
        Ok(())
    }
}

/// Opens the newest file, where a writer that was killed may have left half an entry.
fn open_newest(path: &Path) -> io::Result<(File, u64)> {
    let mut file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)?;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
    }
    if last == *b"\n" {
        return Ok((file, length));
    }
    let whole = super::tail::begin(&file, 0)?.0;
    file.set_len(whole)?;
    Ok((file, whole))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn written(writes: &[(Stream, &[u8])]) -> Vec<(Stream, String)> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "{\"half").expect("a killed writer's");
        let mut log = Log::open(&path, &LogOptions::default(), BTreeMap::new()).expect("log");
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
