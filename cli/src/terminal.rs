//! The caller's terminal: raw while a container has it, silent while a password is typed, restored on every way out.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use rvm_engine::lifecycle::WindowSize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// How the terminal was before it became raw.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// A raw terminal; dropping it restores it.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Makes the terminal on standard input raw.
    pub fn enter() -> std::io::Result<Self> {
        change(OptionalActions::Now, Termios::make_raw)?;
        Ok(Self(()))
    }
}

/// A terminal that does not show what is typed; dropping it restores it.
#[derive(Debug)]
pub struct Hidden(());

impl Hidden {
    /// Hides what is typed on standard input from now on; what was typed before counts nothing.
    pub fn enter() -> std::io::Result<Self> {
        change(OptionalActions::Flush, |modes| {
            modes.local_modes.remove(LocalModes::ECHO);
        })?;
        Ok(Self(()))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        restore();
    }
}

fn change(when: OptionalActions, change: impl FnOnce(&mut Termios)) -> std::io::Result<()> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut after = before.clone();
    change(&mut after);
    *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    Ok(tcsetattr(&stdin, when, &after)?)
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal if it is raw.
pub fn restore() {
    // In a panic the lock may be held by the thread that panics; then it has not become raw yet.
    if let Ok(mut saved) = SAVED.try_lock()
        && let Some(before) = saved.take()
    {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

/// Has a panic restore the terminal before it is reported. The program aborts then, and drops nothing.
pub fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        report(panic);
    }));
}

/// Has the signals that end this program restore the terminal before they do. For commands that pass none of them on.
pub fn restore_on_signals() -> std::io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    let end = move || {
        for signal in signals.forever() {
            restore();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    std::thread::Builder::new()
        .name("ending".into())
        .spawn(end)?;
    Ok(())
}

/// The size of the caller's terminal, if there is one.
pub fn window() -> Option<WindowSize> {
    let of = |fd: BorrowedFd<'_>| {
        tcgetwinsize(fd).ok().map(|size| WindowSize {
            rows: size.ws_row,
            columns: size.ws_col,
        })
    };
    let (stdout, stdin) = (std::io::stdout(), std::io::stdin());
    of(stdout.as_fd()).or_else(|| of(stdin.as_fd()))
}

/// Whether standard input is a terminal.
pub fn on_stdin() -> bool {
    std::io::stdin().is_terminal()
}
