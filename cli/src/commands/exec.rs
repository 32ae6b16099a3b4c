//! `rvm exec`.

use rvm_engine::Engine;
use rvm_engine::lifecycle::ExecRequest;

use super::environment;
use super::joined::{self, Join, Joined};
use crate::arguments::Exec;
use crate::failure::{Failure, code};
use crate::terminal;

pub fn run(engine: &Engine, command: Exec) -> Result<u8, Failure> {
    let container = engine.find(&command.container)?;
    let (interactive, tty) = (command.interactive && !command.detach, command.tty);
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
        privileged: command.privileged,
        open_stdin: interactive,
        window: terminal::window(),
    };
    let mut session = engine.exec(&container, request)?;
    if command.detach {
        session.detach();
        return Ok(0);
    }
    if tty && interactive {
        terminal::restore_on_signals()?;
    }
    let input = joined::shared_input(&session)?;
    if tty {
        joined::follow_window(input.clone())?;
    }
    let join = Join {
        tty,
        stdin: interactive,
        keys: command.detach_keys.unwrap_or_default(),
    };
    match joined::join(&mut session, input, &join)? {
        Joined::Ended(exit) => Ok(code(exit.code)),
        Joined::Detached => Err(Failure::new(1, "read escape sequence")),
        // The container has ended, and everything in it was killed.
        Joined::Lost => Ok(137),
    }
}
