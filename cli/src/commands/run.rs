//! `rvm run`.

use std::sync::{Arc, Mutex};

use rvm_engine::Engine;
use rvm_engine::container::Container;
use rvm_engine::lifecycle::{Attach, CreateRequest};
use rvm_engine::options::signal::Signal;
use rvm_engine::root::Root;
use signal_hook::consts::{SIGCHLD, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
use signal_hook::iterator::Signals;

use super::environment;
use crate::arguments::Run;
use crate::failure::{Failure, code};
use crate::streams::{self, SharedInput};
use crate::terminal::{self, Raw};

pub fn run(root: Root, command: Run) -> Result<u8, Failure> {
    let engine = Engine::open(root).map_err(|error| Failure::from(error).with_code(125))?;
    let (detach, interactive, tty, sig_proxy) = (
        command.detach,
        command.interactive,
        command.tty,
        command.sig_proxy,
    );
    if tty && interactive && !detach && !terminal::on_stdin() {
        return Err(Failure::new(
            125,
            "the input device is not a TTY: leave out --tty, or run it in a terminal",
        ));
    }
    let container = engine.create(request(command)?)?;
    let attach = Attach {
        stdin: interactive && !detach,
        output: !detach,
        window: terminal::window().filter(|_| tty),
    };
    let mut started = match engine.start(&container, attach) {
        Ok(started) => started,
        Err(error) => return Err(error.into()),
    };
    if detach {
        println!("{}", container.id);
        return Ok(0);
    }
    let raw = (tty && interactive).then(Raw::enter).transpose()?;
    let input = Arc::new(Mutex::new(started.session.input()?));
    if sig_proxy || tty {
        forward_signals(
            &engine,
            container.clone(),
            tty.then(|| input.clone()),
            sig_proxy,
        )?;
    }
    if interactive {
        streams::send_stdin(input)?;
    }
    let exit = streams::receive(&mut started.session);
    drop(raw);
    started.wait_monitor();
    match exit.map_err(|error| Failure::from(error).with_code(125))? {
        Some(exit) => {
            if let Some(error) = exit.error {
                eprintln!("rvm: {error}");
            }
            Ok(code(exit.code))
        }
        None => {
            // This records the end, and frees what the container had.
            Engine::open(engine.root().clone())?;
            Err(Failure::new(
                137,
                "the container's monitor has ended unexpectedly, and the container with it",
            ))
        }
    }
}

fn request(command: Run) -> Result<CreateRequest, Failure> {
    let mut words = command.words.into_iter();
    let image = command.image.or_else(|| words.next());
    let image = image
        .ok_or_else(|| Failure::new(125, "'rvm run' needs an image\n\nSee 'rvm run --help'"))?;
    // Whatever stands where the image should, and has a hyphen in front, was meant as an option.
    if image.starts_with('-') {
        return Err(Failure::new(
            125,
            format!("unknown flag: {image}\n\nSee 'rvm run --help'"),
        ));
    }
    Ok(CreateRequest {
        image,
        command: words.collect(),
        name: command.name,
        entrypoint: command.entrypoint,
        env: environment(&command.environment)
            .map_err(|error| Failure::from(error).with_code(125))?,
        working_dir: command.workdir,
        user: command.user,
        hostname: command.hostname,
        tty: command.tty,
        open_stdin: command.interactive,
        auto_remove: command.rm,
        read_only: command.read_only,
        memory: command.memory,
        cpus: command.cpus,
        network: command.network.into(),
        publish: command
            .publish
            .into_iter()
            .flat_map(|published| published.0)
            .collect(),
        kernel: command.kernel,
    })
}

/// Passes signals on to the process, in a thread that nobody waits for, and changes of the terminal's size.
fn forward_signals(
    engine: &Engine,
    container: Container,
    terminal: Option<SharedInput>,
    proxy: bool,
) -> Result<(), Failure> {
    // Not those that say something about this process alone, or that stop it at its own terminal.
    let own = [
        SIGCHLD, SIGPIPE, SIGURG, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH,
    ];
    let forbidden = |signal: &i32| signal_hook::consts::FORBIDDEN.contains(signal);
    let mut caught: Vec<i32> = if proxy {
        (1..=31)
            .filter(|s| !own.contains(s) && !forbidden(s))
            .collect()
    } else {
        Vec::new()
    };
    if terminal.is_some() {
        caught.push(SIGWINCH);
    }
    let mut signals = Signals::new(caught)?;
    let root = engine.root().clone();
    let forward = move || {
        let Ok(engine) = Engine::open(root) else {
            return;
        };
        let container = match engine.find(container.id.as_str()) {
            Ok(container) => container,
            Err(_) => return,
        };
        for signal in signals.forever() {
            match (signal, &terminal) {
                (SIGWINCH, Some(input)) => streams::send_window(input),
                (signal, _) => {
                    let Some(signal) = Signal::from_number(signal) else {
                        continue;
                    };
                    if let Err(error) = engine.signal(&container, signal) {
                        tracing::debug!(%error, "the signal could not be passed on");
                    }
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(forward)?;
    Ok(())
}
