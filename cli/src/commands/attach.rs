//! `rvm attach`.

use rvm_engine::Engine;
use rvm_engine::lifecycle::{self, WindowSize};

use super::joined::{self, Join, Joined};
use super::run::forward_signals;
use crate::arguments_attach::Attach;
use crate::failure::{Failure, code};
use crate::terminal;

pub fn run(engine: &Engine, command: &Attach) -> Result<u8, Failure> {
    let container = engine.find(&command.container)?;
    // Before the terminal: there is nothing to give one to.
    engine.check_attach(&container)?;
    let tty = container.settings.tty;
    let stdin = container.settings.open_stdin && !command.no_stdin;
    if tty && !command.no_stdin && !terminal::on_stdin() {
        return Err(Failure::new(
            1,
            "the input device is not a TTY: give --no-stdin, or run it in a terminal",
        ));
    }
    let window = terminal::window().filter(|_| tty);
    let attach = lifecycle::Attach {
        stdin,
        output: true,
        window,
    };
    if command.sig_proxy && !tty {
        forward_signals(engine.root().clone(), &container.id, None, true)?;
    }
    let mut session = engine.attach(&container, attach)?;
    let input = joined::shared_input(&session)?;
    if let Some(window) = window {
        redraw(&input, window);
        joined::follow_window(input.clone())?;
    }
    if tty && stdin {
        terminal::restore_on_signals()?;
    }
    let join = Join {
        tty,
        stdin,
        keys: command.detach_keys.clone().unwrap_or_default(),
    };
    match joined::join(&mut session, input, &join)? {
        Joined::Detached => Err(Failure::new(1, "read escape sequence")),
        Joined::Ended(exit) => Ok(code(exit.code)),
        Joined::Lost => {
            // This records the end, and frees what the container had.
            Engine::open(engine.root().clone())?;
            Ok(137)
        }
    }
}

/// Has whatever is on the container's terminal draw itself anew: it does when the size changes.
fn redraw(input: &crate::streams::SharedInput, window: WindowSize) {
    let other = WindowSize {
        rows: window.rows.saturating_add(1),
        ..window
    };
    let mut input = input
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for size in [other, window] {
        if let Err(error) = input.resize(size) {
            tracing::debug!(%error, "the terminal's size could not be told");
        }
    }
}
