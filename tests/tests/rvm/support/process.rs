//! A process whose output is collected as it comes, and whose every wait has an end.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long anything may take. It is no promise about speed: whoever waits longer waits for ever.
pub fn patience() -> Duration {
    Duration::from_secs(super::number("RVM_TEST_TIMEOUT", 300) as u64)
}

/// A running process; killed when it goes out of sight.
pub struct Process {
    what: String,
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Arc<Output>,
    pub stderr: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

/// What a process has written so far.
#[derive(Default)]
pub struct Output {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

/// How a process has ended.
pub struct Outcome {
    what: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Process {
    /// Starts a command, its standard streams piped.
    pub fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self::start_as_is(command)
    }

    /// Starts a command with the standard streams that it has been given; the piped ones are collected.
    pub fn start_as_is(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let (stdout, stderr) = (Arc::new(Output::default()), Arc::new(Output::default()));
        let readers = [
            child.stdout.take().map(|from| stdout.clone().collect(from)),
            child.stderr.take().map(|from| stderr.clone().collect(from)),
        ];
        Self {
            what,
            stdin: child.stdin.take(),
            child,
            stdout,
            stderr,
            readers: readers.into_iter().flatten().collect(),
        }
    }

    /// The process's id.
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap_or_else(|error| panic!("{}: {error}", self.what));
    }

    /// Waits until a text is on standard output.
    pub fn wait_for(&self, text: &str) {
        let found = self.stdout.wait_until(|bytes| contains(bytes, text));
        assert!(
            found,
            "'{text}' never came from {}:\n{}\n{}",
            self.what,
            self.stdout.text(),
            self.stderr.text()
        );
    }

    /// Waits for the end, with standard input closed.
    pub fn wait(self) -> Outcome {
        self.wait_with(b"")
    }

    /// Waits for the end, with `input` and nothing more on standard input.
    pub fn wait_with(mut self, input: &[u8]) -> Outcome {
        let mut stdin = self.stdin.take();
        std::thread::scope(|scope| {
            let end = scope.spawn(|| self.wait_exit());
            if let Some(stdin) = &mut stdin {
                // A process need not read all of it.
                let _ = stdin.write_all(input);
            }
            drop(stdin);
            end.join()
        })
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Waits for the end, with standard input as it is. As long as there is output, it does not hang.
    pub fn wait_exit(&mut self) -> Outcome {
        let pidfd = pidfd_open(self.id(), PidfdFlags::empty()).expect("pidfd");
        let limit = Timespec::try_from(patience()).expect("time");
        let ended =
            || poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).expect("poll") > 0;
        let written = || self.stdout.length() + self.stderr.length();
        let mut before = written();
        let hangs = loop {
            if ended() {
                break false;
            }
            let now = written();
            if now == before {
                break true;
            }
            before = now;
        };
        if hangs {
            let _ = self.child.kill();
            panic!(
                "{} hangs:\n{}\n{}",
                self.what,
                self.stdout.text(),
                self.stderr.text()
            );
        }
        let status = self.child.wait().expect("wait");
        if !self.readers.is_empty() {
            // Nobody else may keep the streams open, or a caller that reads to their end would wait for them too.
            for output in [&self.stdout, &self.stderr] {
                output.wait_until(|_| false);
                assert!(output.ended(), "{} left its output open", self.what);
            }
        }
        self.readers
            .drain(..)
            .for_each(|reader| reader.join().expect("reader"));
        Outcome {
            what: self.what.clone(),
            status,
            stdout: self.stdout.bytes(),
            stderr: self.stderr.bytes(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    /// Waits until it ends with `mark`, and takes that away again.
    pub fn cut_off(&self, mark: &[u8]) -> bool {
        let found = self.wait_until(|bytes| bytes.ends_with(mark));
        let mut state = self.state.lock().expect("output");
        let length = state.0.len();
        if found {
            state.0.truncate(length - mark.len());
        }
        found
    }

    /// Collects what comes from a file, in a thread.
    pub fn collect(self: Arc<Self>, mut from: impl Read + Send + 'static) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            loop {
                let length = from.read(&mut chunk).unwrap_or(0);
                let mut state = self.state.lock().expect("lock");
                state.0.extend_from_slice(&chunk[..length]);
                state.1 = length == 0;
                self.changed.notify_all();
                if length == 0 {
                    return;
                }
            }
        })
    }

    /// Waits until what has come satisfies `condition`; false when the end or the limit came first.
    pub fn wait_until(&self, condition: impl Fn(&[u8]) -> bool) -> bool {
        let deadline = Instant::now() + patience();
        let mut state = self.state.lock().expect("lock");
        loop {
            if condition(&state.0) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.1 || left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).expect("lock").0;
        }
    }

    fn ended(&self) -> bool {
        self.state.lock().expect("lock").1
    }

    /// What has come.
    pub fn bytes(&self) -> Vec<u8> {
        self.state.lock().expect("lock").0.clone()
    }

    fn length(&self) -> usize {
        self.state.lock().expect("lock").0.len()
    }

    /// What has come, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

impl Outcome {
    /// The exit code; panics for a process that a signal has ended.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{self}"))
    }

    /// Standard output of a process that had to succeed.
    pub fn success(&self) -> String {
        assert!(self.status.success(), "{self}");
        self.text()
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Asserts a refusal: the exit code, nothing on standard output, and one sentence on standard error that has these words in it.
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code(), code, "{self}");
        assert_eq!(self.text(), "", "{self}");
        let errors = self.errors();
        // Below the sentence on wrong arguments stands where help is to be had, as with Docker.
        let sentence = errors
            .trim_end()
            .split_once("\n\nSee 'rvm")
            .map_or(errors.trim_end(), |(sentence, _)| sentence);
        assert!(
            sentence.starts_with("rvm: ") && !sentence.contains('\n'),
            "not one sentence: {self}"
        );
        for word in words {
            assert!(
                sentence.to_lowercase().contains(&word.to_lowercase()),
                "no '{word}': {self}"
            );
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, status, .. } = self;
        write!(
            f,
            "{what}: {status}\n--- stdout\n{}\n--- stderr\n{}",
            self.text(),
            self.errors()
        )
    }
}

/// Whether a text is in the bytes.
pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// Runs a judge, such as `nft`, that has to succeed; its standard output.
pub fn judge<const N: usize>(program: &str, args: [&str; N]) -> String {
    let mut command = Command::new(program);
    command.args(args);
    Process::start(command).wait().success()
}
