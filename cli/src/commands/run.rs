//! A container with the caller's streams: `rvm run`, and `rvm start --attach`.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rvm_engine::Engine;
use rvm_engine::container::Container;
use rvm_engine::id::ContainerId;
use rvm_engine::lifecycle::Attach;
use rvm_engine::options::signal::Signal;
use rvm_engine::root::Root;
use rvm_engine::timing;
use signal_hook::consts::{SIGCHLD, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
use signal_hook::iterator::Signals;

use super::create;
use super::joined::{self, Join, Joined};
use crate::arguments_create::Run;
use crate::detach_keys::DetachKeys;
use crate::failure::{Failure, code};
use crate::streams::{self, SharedInput};
use crate::table;
use crate::terminal;

pub fn run(root: Root, command: Run) -> Result<u8, Failure> {
    let engine = Engine::open(root).map_err(|error| Failure::from(error).with_code(125))?;
    let (detach, sig_proxy) = (command.detach, command.sig_proxy);
    let interactive = command.container.interactive;
    if command.container.tty && interactive && !detach {
        check_terminal()?;
    }
    let container = create::create(&engine, command.container)?;
    timing::mark("container made");
    if detach {
        engine.start(&container, Attach::default())?;
        println!("{}", container.id);
        if command.timing {
            print_timing();
        }
        return Ok(0);
    }
    let keys = command.detach_keys.unwrap_or_default();
    let code = start_attached(&engine, &container, interactive, sig_proxy, keys)?;
    if command.timing {
        timing::mark("exit");
        print_timing();
    }
    Ok(code)
}

/// The stages of the run, in milliseconds from the command's first instruction on and from each to the next.
fn print_timing() {
    let marks = timing::take();
    let mut last = marks.first().map_or(Duration::ZERO, |mark| mark.at);
    let begin = last;
    let milliseconds = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    let mut rows = vec![
        ["STAGE", "AT (ms)", "TOOK (ms)"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for mark in marks {
        let (at, took) = (mark.at - begin, mark.at - last);
        last = mark.at;
        rows.push(vec![mark.stage, milliseconds(at), milliseconds(took)]);
    }
    eprint!("{}", table::render(&rows));
}

/// A terminal's program needs one on this side, too.
pub fn check_terminal() -> Result<(), Failure> {
    if terminal::on_stdin() {
        return Ok(());
    }
    Err(Failure::new(
        125,
        "the input device is not a TTY: leave out --tty, or run it in a terminal",
    ))
}

/// Starts a container with the caller's streams, and waits for its end; its exit code.
pub fn start_attached(
    engine: &Engine,
    container: &Container,
    interactive: bool,
    sig_proxy: bool,
    keys: DetachKeys,
) -> Result<u8, Failure> {
    let tty = container.settings.tty;
    let window = terminal::window().filter(|_| tty);
    let attach = Attach {
        stdin: interactive,
        output: true,
        window,
    };
    // Before the start, so that a signal on the way ends the container too.
    let window_input = Arc::new(OnceLock::new());
    if sig_proxy || tty {
        forward_signals(
            engine.root().clone(),
            &container.id,
            tty.then(|| window_input.clone()),
            sig_proxy,
        )?;
    }
    let mut started = engine.start(container, attach)?;
    if tty && interactive && !sig_proxy {
        terminal::restore_on_signals()?;
    }
    let input = joined::shared_input(&started.session)?;
    let _ = window_input.set(input.clone());
    // Nobody could be told of a change during the start.
    if tty && terminal::window() != window {
        streams::send_window(&input);
    }
    let join = Join {
        tty,
        stdin: interactive,
        keys,
    };
    let joined = joined::join(&mut started.session, input, &join);
    match joined.map_err(|failure| failure.with_code(125))? {
        Joined::Ended(exit) => {
            timing::mark("end heard of");
            timing::add(exit.timing);
            // A monitor that starts its container again goes on.
            if !exit.restarting {
                started.wait_monitor();
            }
            if let Some(error) = exit.error {
                eprintln!("rvm: {error}");
            }
            Ok(code(exit.code))
        }
        Joined::Detached => Ok(0),
        Joined::Lost => {
            started.wait_monitor();
            // This records the end, and frees what the container had.
            Engine::open(engine.root().clone())?;
            Err(Failure::new(
                137,
                "the container's monitor has ended unexpectedly, and the container with it",
            ))
        }
    }
}

/// Passes signals on to the process, in a thread that nobody waits for, and changes of the terminal's size.
pub fn forward_signals(
    root: Root,
    id: &ContainerId,
    terminal: Option<Arc<OnceLock<SharedInput>>>,
    proxy: bool,
) -> Result<(), Failure> {
    // Not those that say something about this process alone, or that stop it at its own terminal.
    let own = [
        SIGCHLD, SIGPIPE, SIGURG, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH,
    ];
    let passed =
        |signal: &i32| !own.contains(signal) && !signal_hook::consts::FORBIDDEN.contains(signal);
    let mut caught: Vec<i32> = if proxy {
        (1..=31).filter(passed).collect()
    } else {
        Vec::new()
    };
    if terminal.is_some() {
        caught.push(SIGWINCH);
    }
    let mut signals = Signals::new(caught)?;
    let id = id.to_string();
    let forward = move || {
        for signal in signals.forever() {
            if signal == SIGWINCH {
                if let Some(input) = terminal.as_ref().and_then(|input| input.get()) {
                    streams::send_window(input);
                }
            } else if let Some(signal) = Signal::from_number(signal)
                && let Err(error) = send(&root, &id, signal)
            {
                tracing::debug!(%error, "the signal could not be passed on");
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(forward)?;
    Ok(())
}

fn send(root: &Root, id: &str, signal: Signal) -> Result<(), Failure> {
    let engine = Engine::open(root.clone())?;
    let container = engine.find(id)?;
    Ok(engine.signal(&container, signal)?)
}
