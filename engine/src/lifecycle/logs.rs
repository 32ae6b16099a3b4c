//! Reading a container's log, also while it grows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::time::Duration;

use super::Engine;
use crate::container::Container;
use crate::lock::Lock;
use crate::monitor::Entry;
use crate::root::ContainerFolder;

/// How often a log that is followed is looked at.
const PERIOD: Duration = Duration::from_millis(100);

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the log of the container")]
pub struct LogError(#[from] io::Error);

/// A container's log, entry by entry.
#[derive(Debug)]
pub struct Logs {
    file: Option<BufReader<File>>,
    folder: ContainerFolder,
    first: VecDeque<Entry>,
    line: String,
    follow: bool,
}

impl Engine {
    /// The container's log: its last `tail` entries, or all of them, and with `follow` what comes until the container ends.
    pub fn logs(
        &self,
        container: &Container,
        tail: Option<usize>,
        follow: bool,
    ) -> Result<Logs, LogError> {
        let folder = self.root.container(&container.id);
        let file = match File::open(folder.log()) {
            Ok(file) => Some(BufReader::new(file)),
            // It has never been started.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let mut logs = Logs {
            file,
            folder,
            first: VecDeque::new(),
            line: String::new(),
            follow,
        };
        if let Some(tail) = tail {
            let mut last = VecDeque::new();
            while let Some(entry) = logs.read()? {
                last.push_back(entry);
                if last.len() > tail {
                    last.pop_front();
                }
            }
            logs.first = last;
        }
        Ok(logs)
    }
}

impl Logs {
    /// The next entry, for which a log that is followed is waited for; `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LogError> {
        if let Some(entry) = self.first.pop_front() {
            return Ok(Some(entry));
        }
        loop {
            if let Some(entry) = self.read()? {
                return Ok(Some(entry));
            }
            if !self.follow || self.file.is_none() {
                return Ok(None);
            }
            // What was written before the container ended is read once more after that was seen.
            self.follow = self.folder.path().exists() && Lock::try_take(&self.folder)?.is_none();
            if self.follow {
                std::thread::sleep(PERIOD);
            }
        }
    }

    /// The next whole entry; lines that are none are skipped.
    fn read(&mut self) -> io::Result<Option<Entry>> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        loop {
            self.line.clear();
            let length = file.read_line(&mut self.line)?;
            if !self.line.ends_with('\n') {
                // The rest of the line is still being written.
                file.seek(SeekFrom::Current(-(length as i64)))?;
                return Ok(None);
            }
            if let Ok(entry) = serde_json::from_str(&self.line) {
                return Ok(Some(entry));
            }
        }
    }
}
