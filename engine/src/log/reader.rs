//! Reading a log, also while it grows and its files take turns.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::files::Files;
use super::{Entry, tail};
use crate::container::Container;
use crate::lifecycle::Engine;
use crate::monitor::protocol::Request;
use crate::monitor_client;
use crate::root::ContainerFolder;

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is none.
    #[error(
        "configured logging driver does not support reading: the container was made with --log-driver none"
    )]
    None,
    /// A file failed.
    #[error("cannot read the log of the container")]
    Io(#[from] io::Error),
}

/// Which part of a log is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogQuery {
    /// The last entries alone.
    pub tail: Option<usize>,
    /// Of those, what is not older.
    pub since: Option<Timestamp>,
    /// And not newer.
    pub until: Option<Timestamp>,
    /// And what comes until the container ends.
    pub follow: bool,
}

/// A container's log, entry by entry.
#[derive(Debug)]
pub struct Logs {
    files: Files,
    current: Option<BufReader<File>>,
    /// What was written after the current file, the oldest first.
    later: VecDeque<File>,
    line: Vec<u8>,
    query: LogQuery,
    follow: Option<Follow>,
}

/// What a log that is followed is waited for with: word of every change in the container's folder, and of the container's end.
///
/// Nobody writes to a follower: the monitor does not know who reads its files, so that nobody can hold it up.
#[derive(Debug)]
struct Follow {
    changes: OwnedFd,
    monitor: UnixStream,
}

impl Engine {
    /// The container's log.
    pub fn logs(&self, container: &Container, query: LogQuery) -> Result<Logs, LogError> {
        if !container.settings.log.to_files {
            return Err(LogError::None);
        }
        let folder = self.root().container(&container.id);
        let active = container.state.is_active();
        // Before anything is read, so that nothing comes unseen.
        let follow = match query.follow && active {
            true => Follow::begin(&folder)?,
            false => None,
        };
        Ok(Logs::open(Files::new(&folder.log()), query, follow)?)
    }
}

impl Logs {
    fn open(files: Files, query: LogQuery, follow: Option<Follow>) -> io::Result<Self> {
        let mut later: VecDeque<File> = files.open()?.into();
        if let Some(mut wanted) = query.tail {
            for at in (0..later.len()).rev() {
                let (begin, found) = tail::begin(&later[at], wanted)?;
                later[at].seek(SeekFrom::Start(begin))?;
                wanted -= found.min(wanted);
                if wanted == 0 {
                    later.drain(..at);
                    break;
                }
            }
        }
        Ok(Self {
            current: later.pop_front().map(BufReader::new),
            files,
            later,
            line: Vec::new(),
            query,
            follow,
        })
    }

    /// The next entry, for which a log that is followed is waited for; `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LogError> {
        loop {
            if let Some(entry) = self.read()? {
                let time: Option<Timestamp> = entry.time.parse().ok();
                let is_before = |limit: &Timestamp| time.is_some_and(|time| time < *limit);
                let is_after = |limit: &Timestamp| time.is_some_and(|time| time > *limit);
                if self.query.until.as_ref().is_some_and(is_after) {
                    return Ok(None);
                }
                if !self.query.since.as_ref().is_some_and(is_before) {
                    return Ok(Some(entry));
                }
                continue;
            }
            if let Some(next) = self.later.pop_front() {
                self.current = Some(BufReader::new(next));
                continue;
            }
            let Some(follow) = &self.follow else {
                return Ok(None);
            };
            let next = match &self.current {
                Some(current) => self.files.after(current.get_ref())?,
                None => self.files.open()?.into_iter().next(),
            };
            if let Some(next) = next {
                // The current file gets nothing more, but may have got something since it was read to its end.
                self.later.push_back(next);
                continue;
            }
            if !follow.wait(self.query.until)? {
                // What was written before the end is read yet.
                self.follow = None;
            }
        }
    }

    /// The next whole entry of the current file; lines that are none are skipped.
    fn read(&mut self) -> io::Result<Option<Entry>> {
        let Some(file) = &mut self.current else {
            return Ok(None);
        };
        loop {
            self.line.clear();
            let length = file.read_until(b'\n', &mut self.line)?;
            if !self.line.ends_with(b"\n") {
                // The rest of the line is still being written.
                file.seek_relative(-(length as i64))?;
                return Ok(None);
            }
            if let Ok(entry) = serde_json::from_slice(&self.line) {
                return Ok(Some(entry));
            }
        }
    }
}

impl Follow {
    /// `None` when the container does not run any more.
    fn begin(folder: &ContainerFolder) -> io::Result<Option<Self>> {
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        match inotify::add_watch(&changes, folder.path(), events) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            added => added?,
        };
        let end = Request::Attach {
            stdin: false,
            output: false,
            window: None,
        };
        match monitor_client::request(folder, &end) {
            Ok(monitor) => Ok(Some(Self { changes, monitor })),
            Err(error) => {
                tracing::debug!(%error, "the container has ended");
                Ok(None)
            }
        }
    }

    /// Waits for a change; false when none will come, or when the time has.
    fn wait(&self, until: Option<Timestamp>) -> io::Result<bool> {
        let timeout = until.map(|until| {
            let left = Timestamp::now().duration_until(until);
            Timespec {
                tv_sec: left.as_secs().max(0),
                tv_nsec: i64::from(left.subsec_nanos()).max(0),
            }
        });
        let mut fds = [
            PollFd::new(&self.changes, PollFlags::IN),
            PollFd::new(&self.monitor, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(true),
            polled if polled? == 0 => return Ok(false),
            _ => {}
        }
        if !fds[1].revents().is_empty() {
            return Ok(false);
        }
        let mut events = [0; 4096];
        match rustix::io::read(&self.changes, &mut events) {
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Log, LogOptions, Stream};
    use super::*;

    fn options(options: &[&str]) -> LogOptions {
        let options: Vec<String> = options.iter().map(|text| (*text).to_owned()).collect();
        LogOptions::parse(None, &options).expect("options")
    }

    fn all(logs: &mut Logs) -> String {
        let mut text = String::new();
        while let Some(entry) = logs.next_entry().expect("entry") {
            text += &entry.log;
        }
        text
    }

    #[test]
    fn a_reader_goes_on_over_rotations() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let options = options(&["max-size=200b", "max-file=3"]);
        let mut log = Log::open(&path, &options, BTreeMap::new()).expect("log");
        let open = |tail| {
            let query = LogQuery {
                tail,
                ..LogQuery::default()
            };
            Logs::open(Files::new(&path), query, None).expect("logs")
        };
        log.write(Stream::Stdout, b"1\n2\n");
        let mut reader = open(None);
        assert_eq!(all(&mut reader), "1\n2\n");
        // Two lines or three fill a file; the reader still has the first one open.
        for number in 3..20 {
            log.write(Stream::Stdout, format!("{number}\n").as_bytes());
            if let Some(next) = reader
                .files
                .after(reader.current.as_ref().expect("a file").get_ref())
                .expect("files")
            {
                reader.later.push_back(next);
            }
            assert_eq!(all(&mut reader), format!("{number}\n"));
        }
        let files = std::fs::read_dir(folder.path()).expect("folder").count();
        assert_eq!(files, 3);
        // Somebody who comes now finds the newest three files.
        let whole = all(&mut open(None));
        assert!(
            whole.ends_with("18\n19\n") && !whole.starts_with("1\n"),
            "{whole}"
        );
        for count in 0..=whole.lines().count() {
            let last: Vec<&str> = whole.split_inclusive('\n').rev().take(count).collect();
            let last: String = last.into_iter().rev().collect();
            assert_eq!(all(&mut open(Some(count))), last);
        }
        assert_eq!(all(&mut open(Some(99))), whole);
    }

    #[test]
    fn a_reader_loses_and_repeats_nothing_while_files_move() {
        const LINES: usize = 3000;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let options = options(&["max-size=1000b", "max-file=300"]);
        std::thread::scope(|scope| {
            let mut log = Log::open(&path, &options, BTreeMap::new()).expect("log");
            scope.spawn(move || {
                for number in 0..LINES {
                    log.write(Stream::Stdout, format!("{number}\n").as_bytes());
                }
            });
            let files = Files::new(&path);
            let mut logs = Logs::open(files, LogQuery::default(), None).expect("logs");
            let mut next = 0;
            while next < LINES {
                for line in all(&mut logs).lines() {
                    assert_eq!(line, next.to_string());
                    next += 1;
                }
                let current = logs.current.as_ref().expect("a file");
                let after = logs.files.after(current.get_ref()).expect("files");
                logs.later.extend(after);
            }
        });
    }

    #[test]
    fn times_bound_what_is_shown() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let entry = |day: u8| {
            format!(
                "{{\"log\":\"{day}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-0{day}T00:00:00.000000000Z\"}}\n"
            )
        };
        std::fs::write(&path, (1..=5).map(entry).collect::<String>()).expect("log");
        let time = |day: u8| Some(format!("2026-01-0{day}T00:00:00Z").parse().expect("time"));
        for (tail, since, until, text) in [
            (None, time(2), time(3), "2\n3\n"),
            (Some(2), time(2), None, "4\n5\n"),
            (Some(2), time(5), None, "5\n"),
            (None, None, time(1), "1\n"),
        ] {
            let query = LogQuery {
                tail,
                since,
                until,
                follow: false,
            };
            let mut logs = Logs::open(Files::new(&path), query, None).expect("logs");
            assert_eq!(all(&mut logs), text);
        }
    }
}
