//! One connection of a command to the monitor.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;

use rvm_agent_protocol::frame::{self, Kind};
use rvm_agent_protocol::{Request as AgentRequest, WindowSize};

use super::clients::Chunk;
use super::protocol::{Failure, Request, Response};
use super::shared::{GuestError, Phase, Shared};
use crate::id::ContainerId;
use crate::microvm;
use crate::options::signal::Signal;

/// Enough for frames and formatting; most of it is never touched.
const STACK: usize = 256 << 10;

/// Serves a connection in a thread of its own.
pub fn serve(
    shared: Arc<Shared>,
    id: ContainerId,
    stream: UnixStream,
    first: bool,
) -> io::Result<()> {
    let serve = move || {
        if let Err(error) = answer(&shared, &id, stream, first) {
            tracing::debug!(%error, "a client's connection has ended");
        }
        if first {
            shared.first_client_ready(None);
        }
    };
    thread::Builder::new()
        .name("connection".into())
        .stack_size(STACK)
        .spawn(serve)?;
    Ok(())
}

fn answer(
    shared: &Arc<Shared>,
    id: &ContainerId,
    mut stream: UnixStream,
    first: bool,
) -> Result<(), frame::Error> {
    let Some((Kind::Request, payload)) = frame::read(&mut stream)? else {
        return Ok(());
    };
    match serde_json::from_slice(&payload)? {
        Request::Attach {
            stdin,
            output,
            window,
        } => attach(
            shared,
            id,
            stream,
            Attach {
                stdin,
                output,
                window,
                first,
            },
        ),
        Request::Connect => {
            let _answering = shared.request();
            connect(shared, &mut stream)
        }
        Request::Signal { signal } => {
            let _answering = shared.request();
            let result = send_signal(shared, id, signal);
            respond(&mut stream, result)
        }
    }
}

fn connect(shared: &Shared, stream: &mut UnixStream) -> Result<(), frame::Error> {
    match shared.connect() {
        Ok(agent) => {
            respond(stream, Ok(()))?;
            Ok(microvm::send(&*stream, &[0], agent.as_fd())?)
        }
        Err(error) => respond(stream, Err(error)),
    }
}

fn respond(stream: &mut UnixStream, result: Result<(), GuestError>) -> Result<(), frame::Error> {
    let response = match result {
        Ok(()) => Response::Ok,
        Err(error) => Response::Failed(Failure {
            code: 1,
            message: crate::error::chain(&error),
        }),
    };
    frame::write_json(stream, Kind::Response, &response)
}

/// SIGKILL ends the microVM: no guest can stand in its way, and there is nothing in it but this container. Before the
/// container's process is there to take them, signals that ask for an end do the same.
fn send_signal(shared: &Shared, id: &ContainerId, signal: Signal) -> Result<(), GuestError> {
    let starting = matches!(shared.phase(), Phase::Starting);
    if signal == Signal::KILL || (starting && signal.asks_for_end()) {
        return shared.kill();
    }
    let request = AgentRequest::Signal {
        id: id.to_string(),
        signal: signal.number(),
        all: false,
    };
    Ok(shared.agent()?.call(&request)?)
}

struct Attach {
    stdin: bool,
    output: bool,
    window: Option<WindowSize>,
    first: bool,
}

fn attach(
    shared: &Arc<Shared>,
    id: &ContainerId,
    mut stream: UnixStream,
    attach: Attach,
) -> Result<(), frame::Error> {
    let (client, receiver) = shared.clients.add(attach.output);
    let writer = stream.try_clone()?;
    let shared_writer = shared.clone();
    let write = move || {
        if let Err(error) = write_output(&shared_writer, writer, &receiver) {
            tracing::debug!(%error, "an attached client has gone");
        }
    };
    shared.add_writer(
        thread::Builder::new()
            .name("output".into())
            .stack_size(STACK)
            .spawn(write)?,
    );
    if attach.first {
        shared.first_client_ready(attach.window);
    }
    let result = read_input(shared, id, &mut stream, attach.stdin);
    shared.clients.remove(client);
    if attach.first
        && attach.stdin
        && let Some(mut input) = shared.input()
    {
        // Whoever has started the container with its input attached takes the input along, however it went.
        let _ = frame::write(&mut input, Kind::StdinClosed, &[]);
    }
    result
}

fn write_output(
    shared: &Shared,
    mut stream: UnixStream,
    output: &Receiver<Chunk>,
) -> Result<(), frame::Error> {
    let response = match shared.wait_started() {
        Phase::Failed(failure) => Response::Failed(failure),
        _ => Response::Ok,
    };
    frame::write_json(&mut stream, Kind::Response, &response)?;
    for (kind, bytes) in output {
        frame::write(&mut stream, kind, &bytes)?;
    }
    if let Phase::Ended(exit) = shared.phase() {
        frame::write_json(&mut stream, Kind::Exited, &exit)?;
    }
    stream.flush()?;
    Ok(())
}

/// Passes a client's input on until the client goes.
fn read_input(
    shared: &Shared,
    id: &ContainerId,
    stream: &mut UnixStream,
    stdin: bool,
) -> Result<(), frame::Error> {
    let mut input = None;
    while let Some((kind, payload)) = frame::read(stream)? {
        match kind {
            Kind::Resize => resize(shared, id, serde_json::from_slice(&payload)?),
            Kind::Stdin | Kind::StdinClosed if stdin => {
                if input.is_none() {
                    input = shared.input();
                }
                if let Some(input) = &mut input {
                    // A process that has closed its input is no reason to let the client go.
                    let _ = frame::write(input, kind, &payload);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Over a connection of its own, because input may be waiting on the process's stream.
fn resize(shared: &Shared, id: &ContainerId, window: WindowSize) {
    let request = AgentRequest::Resize {
        id: id.to_string(),
        window,
    };
    let result = shared
        .agent()
        .and_then(|mut agent| Ok(agent.call(&request)?));
    if let Err(error) = result {
        tracing::debug!(%error, "the terminal's size could not be passed on");
    }
}
