//! `rvm-vmm`: runs one virtual machine, described by a JSON document on an inherited descriptor, until it ends.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use rvm_vmm::config::Config;
use rvm_vmm::control::{Channel, Event, Stop};
use rvm_vmm::machine::Machine;

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
    tracing_subscriber::fmt()
        .with_max_level(arguments.log_level)
        .with_writer(std::io::stderr)
        .without_time()
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
    let (stopped, stop) = std::sync::mpsc::channel();
    let (parent, on_command) = (control.clone(), stopped.clone());
    // Whatever the parent says, or that it is gone, ends the virtual machine: there is only one command.
    let listener = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            let command = parent.receive();
            tracing::debug!(?command, "the parent ends the virtual machine");
            let _ = on_command.send(Stop::Requested);
        });
    control.send(&Event::Running);
    let started = listener.and_then(|_| machine.run(stopped));
    let console = match started {
        Ok(console) => console,
        Err(error) => {
            control.send(&Event::Failed {
                message: format!("can't start a thread: {error}"),
            });
            return ExitCode::FAILURE;
        }
    };
    let stop = stop.recv().unwrap_or(Stop::Requested);
    control.send(&Event::Stopped(console.explain(stop)));
    ExitCode::SUCCESS
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
