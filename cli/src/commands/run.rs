//! `rvm run`.

use std::sync::{Arc, Mutex, OnceLock};

use rvm_engine::Engine;
use rvm_engine::id::ContainerId;
use rvm_engine::lifecycle::{Attach, CreateRequest};
use rvm_engine::options::signal::Signal;
use rvm_engine::root::Root;
use signal_hook::consts::{SIGCHLD, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
use signal_hook::iterator::Signals;

use super::environment;
use super::images::pull;
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
    let (policy, quiet) = (command.pull, command.quiet);
    let request = request(command)?;
    pull::before_run(engine.root(), &request.image, policy, quiet)
        .map_err(|failure| failure.with_code(125))?;
    let container = engine.create(request)?;
    let attach = Attach {
        stdin: interactive && !detach,
        output: !detach,
        window: terminal::window().filter(|_| tty),
    };
    // Before the start, so that a signal on the way ends the container too.
    let window_input = Arc::new(OnceLock::new());
    if !detach && (sig_proxy || tty) {
        forward_signals(
            engine.root().clone(),
            &container.id,
            tty.then(|| window_input.clone()),
            sig_proxy,
        )?;
    }
    let mut started = engine.start(&container, attach)?;
    if detach {
        println!("{}", container.id);
        return Ok(0);
    }
    if tty && interactive && !sig_proxy {
        terminal::restore_on_signals()?;
    }
    let raw = (tty && interactive).then(Raw::enter).transpose()?;
    let input = Arc::new(Mutex::new(started.session.input()?));
    let _ = window_input.set(input.clone());
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
