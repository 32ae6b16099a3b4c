//! `rvm exec`.

use std::sync::{Arc, Mutex};

use rvm_engine::Engine;
use rvm_engine::lifecycle::ExecRequest;
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::Signals;

use super::environment;
use crate::arguments::Exec;
use crate::failure::{Failure, code};
use crate::streams;
use crate::terminal::{self, Raw};

pub fn run(engine: &Engine, command: Exec) -> Result<u8, Failure> {
    let container = engine.find(&command.container)?;
    let (interactive, tty) = (command.interactive, command.tty);
    if tty && interactive && !terminal::on_stdin() {
        return Err(Failure::new(
            1,
            "the input device is not a TTY: leave out --tty, or run it in a terminal",
        ));
    }
    let request = ExecRequest {
        command: command.command,
        env: environment(&command.environment)?,
        working_dir: command.workdir,
        user: command.user,
        tty,
        open_stdin: interactive,
        window: terminal::window(),
    };
    let mut session = engine.exec(&container, request)?;
    if tty && interactive {
        terminal::restore_on_signals()?;
    }
    let raw = (tty && interactive).then(Raw::enter).transpose()?;
    let input = Arc::new(Mutex::new(session.input()?));
    if tty {
        let mut signals = Signals::new([SIGWINCH])?;
        let input = input.clone();
        let forward = move || signals.forever().for_each(|_| streams::send_window(&input));
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(forward)?;
    }
    if interactive {
        streams::send_stdin(input)?;
    }
    let exit = streams::receive(&mut session)?;
    drop(raw);
    // The container has ended, and everything in it was killed.
    Ok(exit.map_or(137, |exit| code(exit.code)))
}
