//! `rvm-vmm`: runs one virtual machine, described by a JSON document on an inherited descriptor, until it ends.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use clap::Parser;
use rvm_vmm::at_rest;
use rvm_vmm::config::Config;
use rvm_vmm::control::{Channel, Command, Event, Stop};
use rvm_vmm::machine::{Error, Machine};
use rvm_vmm::running::{self, Occurrence, Running};

/// Runs one virtual machine. Started by `rvm`, which hands it everything that it needs as open descriptors.
#[derive(Parser)]
#[command(name = "rvm-vmm", version)]
struct Arguments {
    /// Descriptor from which the configuration, a JSON document, is read to its end.
    #[arg(long, value_name = "N")]
    config_fd: RawFd,
    /// How much is logged on standard error: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log_level: tracing::Level,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    env_logger::Builder::new()
        .parse_filters(&format!("rvm={}", arguments.log_level))
        .init();
    let config = match read_config(arguments.config_fd) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(
                "can't read the configuration from descriptor {}: {error}",
                arguments.config_fd
            );
            return ExitCode::FAILURE;
        }
    };
    // SAFETY: by the contract of `Config` the descriptor is open and belongs to this process.
    let control = Arc::new(Channel::new(unsafe {
        OwnedFd::from_raw_fd(config.control_fd)
    }));
    let machine = match Machine::new(config) {
        Ok(machine) => machine,
        Err(error) => {
            control.send(&Event::Failed {
                message: with_sources(&error),
            });
            return ExitCode::FAILURE;
        }
    };
    let (happened, occurrences) = channel();
    let (parent, asked) = (control.clone(), happened.clone());
    control.send(&Event::Running);
    let started = machine.run(&happened).and_then(|running| {
        Builder::new()
            .name("control".into())
            .spawn(move || listen(&parent, &asked))
            .map_err(Error::Thread)?;
        Ok(running)
    });
    let mut running = match started {
        Ok(running) => running,
        Err(error) => {
            control.send(&Event::Failed {
                message: with_sources(&error),
            });
            return ExitCode::FAILURE;
        }
    };
    at_rest::give_back_memory();
    let stop = serve(&mut running, &control, &occurrences);
    control.send(&Event::Stopped(running.explain(stop)));
    ExitCode::SUCCESS
}

/// Passes on what the parent asks; a parent that is gone asks for the end.
fn listen(parent: &Channel, asked: &Sender<Occurrence>) {
    while let Some((command, fds)) = parent.receive() {
        if asked.send(Occurrence::Asked(command, fds)).is_err() {
            return;
        }
    }
    tracing::debug!("the parent is gone");
    // If nobody listens, the virtual machine is at its end already.
    let _ = asked.send(Occurrence::Stopped(Stop::Requested));
}

/// Does what the parent asks until the virtual machine comes to its end.
fn serve(running: &mut Running, control: &Channel, occurrences: &Receiver<Occurrence>) -> Stop {
    loop {
        let (command, fds) = match occurrences.recv() {
            Ok(Occurrence::Asked(command, fds)) => (command, fds),
            Ok(Occurrence::Stopped(stop)) => return stop,
            Err(_) => return Stop::Requested,
        };
        let outcome = match command {
            Command::Stop => return Stop::Requested,
            Command::Pause => running.pause(),
            Command::Resume => running.resume(),
            Command::Snapshot => snapshot(running, fds),
            Command::Balloon { mib } => running.set_balloon(mib),
        };
        control.send(&match outcome {
            Ok(()) => Event::Done,
            Err(error) => Event::Refused {
                message: with_sources(&error),
            },
        });
    }
}

fn snapshot(running: &Running, fds: Vec<OwnedFd>) -> Result<(), running::Error> {
    match <[OwnedFd; 3]>::try_from(fds) {
        Ok([state, memory, pagemap]) => running.snapshot(
            &mut File::from(state),
            &File::from(memory),
            &File::from(pagemap),
        ),
        Err(_) => Err(running::Error::Files),
    }
}

fn read_config(fd: RawFd) -> std::io::Result<Config> {
    // SAFETY: whoever starts this program says that the descriptor is open and meant for it; if it is not, reading fails.
    let mut file = unsafe { File::from_raw_fd(fd) };
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// The error and what led to it in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
