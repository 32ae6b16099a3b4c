//! A process's standard streams: pipes or a terminal on one side, a connection's frames on the other.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rvm_agent_protocol::frame::MAX_CHUNK;
use rvm_agent_protocol::{ExitStatus, Kind, WindowSize};

use crate::connection::Connection;
use crate::poll::{Poll, Role, Watched};

/// How long the output of an ended exec is waited for when something that it left behind holds the pipe open. Docker
/// waits as long.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a pipe holds.
const PIPE: usize = 64 << 10;

/// The agent's ends of a process's standard streams.
#[derive(Default)]
pub struct Ends {
    /// Where standard input is written to.
    pub stdin: Option<OwnedFd>,
    /// Where standard output, or the terminal, is read from.
    pub stdout: Option<OwnedFd>,
    /// Where standard error is read from.
    pub stderr: Option<OwnedFd>,
    /// Whether `stdout` is the master of a terminal.
    pub terminal: bool,
}

/// Why the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is a container's first process: when it has ended, nothing of the container is left that could write.
    Init,
    /// It is a further process, whose descendants may outlive it.
    Exec,
}

/// A process's streams.
pub struct Stream {
    origin: Origin,
    stdin: Option<Input>,
    stdout: Option<Watched>,
    stderr: Option<Watched>,
    terminal: bool,
    exit: Option<ExitStatus>,
    deadline: Option<Instant>,
    /// The connection was full: its next flush, not the deadline, is what to wait for.
    blocked: bool,
    /// The output stays where it is.
    quiet: bool,
    /// The connection that reads and feeds them; without it, output is discarded.
    pub connection: Option<u32>,
}

struct Input {
    pipe: Watched,
    pending: Vec<u8>,
    written: usize,
    ends: bool,
}

impl Stream {
    /// Takes the ends; nothing is read before [`Stream::run`].
    pub fn new(poll: &Poll, ends: Ends, id: u32, origin: Origin) -> io::Result<Self> {
        let watch = |fd: Option<OwnedFd>, role| -> io::Result<Option<Watched>> {
            fd.map(|fd| {
                rustix::io::ioctl_fionbio(&fd, true)?;
                Ok(Watched::new(poll, fd, id, role))
            })
            .transpose()
        };
        let stdin = watch(ends.stdin, Role::Stdin)?;
        Ok(Self {
            origin,
            stdin: stdin.map(|pipe| Input {
                pipe,
                pending: Vec::new(),
                written: 0,
                ends: false,
            }),
            stdout: watch(ends.stdout, Role::Stdout)?,
            stderr: watch(ends.stderr, Role::Stderr)?,
            terminal: ends.terminal,
            exit: None,
            deadline: None,
            blocked: false,
            quiet: false,
            connection: None,
        })
    }

    /// Begins to read the output.
    pub fn run(&mut self) -> io::Result<()> {
        self.want_output(true)
    }

    /// Reads no output from now on, or goes on reading it.
    pub fn set_quiet(&mut self, quiet: bool) -> io::Result<()> {
        self.quiet = quiet;
        self.want_output(!quiet)
    }

    fn want_output(&mut self, want: bool) -> io::Result<()> {
        for output in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            output.want_read(want)?;
        }
        Ok(())
    }

    /// Sets the terminal's size, where there is a terminal.
    pub fn resize(&self, window: WindowSize) -> io::Result<()> {
        let Some(master) = self.stdout.as_ref().filter(|_| self.terminal) else {
            return Ok(());
        };
        let size = rustix::termios::Winsize {
            ws_row: window.rows,
            ws_col: window.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(rustix::termios::tcsetwinsize(master, size)?)
    }

    /// Takes bytes for standard input and writes what fits.
    pub fn feed(&mut self, bytes: Vec<u8>) {
        if let Some(stdin) = &mut self.stdin {
            stdin.pending = bytes;
            stdin.written = 0;
            self.write_stdin();
        }
    }

    /// Standard input ends after what was fed. A terminal has no end that could be told apart from a hang-up.
    pub fn end_stdin(&mut self) {
        if self.terminal {
            return;
        }
        if let Some(stdin) = &mut self.stdin {
            stdin.ends = true;
            self.write_stdin();
        }
    }

    /// Whether fed bytes still wait for the process, so that no more should be fed.
    pub fn is_fed(&self) -> bool {
        self.stdin
            .as_ref()
            .is_some_and(|stdin| stdin.written < stdin.pending.len())
    }

    /// Writes what is pending for standard input as far as it goes.
    pub fn write_stdin(&mut self) {
        let Some(stdin) = &mut self.stdin else {
            return;
        };
        while stdin.written < stdin.pending.len() {
            match rustix::io::write(&stdin.pipe, &stdin.pending[stdin.written..]) {
                Ok(n) => stdin.written += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if stdin.pipe.want_write(true).is_ok() => return,
                // The process reads no more.
                Err(_) => {
                    self.stdin = None;
                    return;
                }
            }
        }
        if stdin.ends || stdin.pipe.want_write(false).is_err() {
            self.stdin = None;
        }
    }

    /// Notes how the process ended.
    pub fn exited(&mut self, status: ExitStatus) {
        self.stdin = None;
        self.exit = Some(status);
        let now = Instant::now();
        self.deadline = Some(match self.origin {
            Origin::Init => now,
            Origin::Exec => now + PATIENCE,
        });
    }

    /// When [`Stream::pump`] has to be called next without an event.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| !self.blocked && !self.quiet)
    }

    /// Whether output waits for room in the connection.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Moves output that is there to the connection, as long as that takes it.
    ///
    /// Returns the exit status once the process has ended and its output is complete.
    pub fn pump(&mut self, mut connection: Option<&mut Connection>) -> Option<ExitStatus> {
        if self.quiet {
            return None;
        }
        let expired = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        self.blocked = false;
        for (kind, output) in [
            (Kind::Stdout, &mut self.stdout),
            (Kind::Stderr, &mut self.stderr),
        ] {
            // What waits in a pipe may be older than what waits in the other one, but a process must not keep the loop for itself.
            let mut chunks = PIPE.div_ceil(MAX_CHUNK);
            while let Some(pipe) = output {
                let read = match &mut connection {
                    Some(connection) if connection.is_full() => {
                        self.blocked = true;
                        if pipe.want_read(false).is_err() {
                            *output = None;
                        }
                        break;
                    }
                    Some(connection) => connection.push_from(kind, &*pipe),
                    None => discard(pipe),
                };
                match read {
                    Ok(n) if n > 0 && pipe.want_read(true).is_ok() => {
                        // Level-triggered: the rest, if any, comes with the next event. After the exit there may be none.
                        chunks = chunks.saturating_sub(1);
                        if !expired && (n < MAX_CHUNK || chunks == 0) {
                            break;
                        }
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) if !expired && pipe.want_read(true).is_ok() => break,
                    // End of file, a hung-up terminal (EIO), or nothing left to read and nobody to wait for.
                    _ => *output = None,
                }
            }
        }
        let complete = self.stdout.is_none() && self.stderr.is_none();
        self.exit.filter(|_| complete)
    }
}

fn discard(pipe: &Watched) -> Result<usize, Errno> {
    let mut bytes = [0; 4096];
    rustix::io::read(pipe, &mut bytes)
}
