//! The caller's terminal and streams, joined with a process's until it ends or the caller leaves.

use std::sync::{Arc, Mutex};

use rvm_engine::monitor::protocol::Exit;
use rvm_engine::session::Session;
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::Signals;

use crate::detach_keys::{DetachKeys, Watch};
use crate::failure::Failure;
use crate::streams::{self, SharedInput};
use crate::terminal::Raw;

/// How the caller takes part.
#[derive(Debug)]
pub struct Join {
    /// The process has a terminal.
    pub tty: bool,
    /// Standard input goes to the process.
    pub stdin: bool,
    /// The keys on which the caller leaves, where there is a terminal.
    pub keys: DetachKeys,
}

/// How it came to an end.
#[derive(Debug)]
pub enum Joined {
    /// The process has ended.
    Ended(Exit),
    /// The caller has left; the process goes on.
    Detached,
    /// Whoever had the process in hand is gone.
    Lost,
}

/// The way to the process, to be shared with the thread that follows the terminal's size.
pub fn shared_input(session: &Session) -> Result<SharedInput, Failure> {
    Ok(Arc::new(Mutex::new(session.input()?)))
}

/// Passes the terminal's changes of size on, in a thread that nobody waits for.
pub fn follow_window(input: SharedInput) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGWINCH])?;
    let forward = move || signals.forever().for_each(|_| streams::send_window(&input));
    std::thread::Builder::new()
        .name("window".into())
        .spawn(forward)?;
    Ok(())
}

/// Joins the streams. The terminal is as it was before when this returns.
pub fn join(session: &mut Session, input: SharedInput, join: &Join) -> Result<Joined, Failure> {
    let raw = (join.tty && join.stdin).then(Raw::enter).transpose()?;
    let left = match join.stdin {
        true => Some(streams::send_stdin(
            input,
            join.tty.then(|| Watch::new(join.keys.clone())),
        )?),
        false => None,
    };
    let exit = streams::receive(session);
    drop(raw);
    Ok(match exit? {
        Some(exit) => Joined::Ended(exit),
        None if left.is_some_and(|left| left.load(std::sync::atomic::Ordering::Acquire)) => {
            Joined::Detached
        }
        None => Joined::Lost,
    })
}
