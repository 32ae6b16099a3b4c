//! One connection of a command to the monitor.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use rvm_agent_protocol::frame::{self, Kind};
use rvm_agent_protocol::{ExitStatus, Request as AgentRequest, WindowSize};

use super::checkpoint::Saved;
use super::clients::Chunk;
use super::limit;
use super::pause;
use super::protocol::{Failure, Purpose, Request, Response};
use super::seat::Seat;
use super::shared::{GuestError, Phase, Shared};
use crate::error::chain;
use crate::event::Attributes;
use crate::exec_events::ExecEvents;
use crate::id::ContainerId;
use crate::microvm;
use crate::name::Name;
use crate::options::signal::Signal;
use crate::root::Root;
use crate::state::Database;

/// Enough for frames and formatting; most of it is never touched.
const STACK: usize = 256 << 10;

/// How long a guest may take to say that it has killed its container.
const KILL_ANSWER: Duration = Duration::from_secs(10);

/// How long it may take then until the container has ended.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

/// Serves a connection in a thread of its own.
pub fn serve(
    root: &Root,
    seat: &Arc<Seat>,
    id: &ContainerId,
    stream: UnixStream,
    first: bool,
) -> io::Result<()> {
    let run = seat.run();
    let shared = run.clone();
    let served = Served {
        root: root.clone(),
        seat: seat.clone(),
        id: id.clone(),
    };
    let serve = move || {
        if let Err(error) = served.answer(&run, stream, first) {
            tracing::debug!(%error, "a client's connection has ended");
        }
        if first {
            run.first_client_ready(None);
        }
    };
    let spawned = thread::Builder::new()
        .name("connection".into())
        .stack_size(STACK)
        .spawn(serve);
    if first && spawned.is_err() {
        shared.first_client_ready(None);
    }
    spawned.map(drop)
}

/// What a connection's requests are about.
struct Served {
    root: Root,
    seat: Arc<Seat>,
    id: ContainerId,
}

impl Served {
    fn answer(
        &self,
        shared: &Arc<Shared>,
        mut stream: UnixStream,
        first: bool,
    ) -> Result<(), frame::Error> {
        let Some((Kind::Request, payload)) = frame::read(&mut stream)? else {
            return Ok(());
        };
        let _answering = match serde_json::from_slice(&payload)? {
            Request::Attach {
                stdin,
                output,
                window,
            } => {
                if output {
                    self.tell("attach");
                }
                let attached = Attach {
                    stdin,
                    output,
                    window,
                    first,
                };
                return attach(shared, &self.id, stream, attached);
            }
            Request::Follow { exec } => {
                respond(&mut stream, Ok(()))?;
                let (_, process) = microvm::receive(&stream, &mut [0])?;
                let events = ExecEvents::resume(&self.root, &self.id, exec);
                return match process {
                    Some(process) => follow(UnixStream::from(process), &events),
                    None => Ok(()),
                };
            }
            Request::Connect => {
                let answering = shared.request();
                match *shared.paused() {
                    // Nobody would answer there.
                    true => {
                        let paused = GuestError::Paused(self.id.to_string());
                        respond(&mut stream, Err(paused))?;
                    }
                    false => connect(shared, &mut stream)?,
                }
                answering
            }
            request @ (Request::Pause | Request::Unpause) => {
                let answering = shared.request();
                let pause = matches!(request, Request::Pause);
                let result = self.set_paused(shared, pause);
                respond(&mut stream, result)?;
                answering
            }
            Request::Checkpoint {
                name,
                leave_running,
            } => {
                let answering = shared.request();
                let result = self.checkpoint(shared, &name, leave_running);
                respond(&mut stream, result)?;
                answering
            }
            Request::Limit { files, balloon_mib } => {
                let answering = shared.request();
                let result = limit::set(shared, &self.id, files, balloon_mib);
                respond(&mut stream, result)?;
                answering
            }
            Request::Signal { signal, purpose } => {
                let answering = shared.request();
                let result = self.signal(shared, signal, purpose);
                respond(&mut stream, result)?;
                answering
            }
        };
        Ok(())
    }

    fn signal(
        &self,
        shared: &Arc<Shared>,
        signal: Signal,
        purpose: Purpose,
    ) -> Result<(), GuestError> {
        let for_good = purpose != Purpose::Tell;
        // Who restarts a container has not stopped it.
        let stopped = matches!(purpose, Purpose::Stop | Purpose::Remove);
        // Told before it is sent, so that no end comes before what has caused it.
        let noted = Database::open(&self.root.database())
            .and_then(|database| database.set_signalled(&self.id, signal.number(), stopped));
        if let Err(error) = noted {
            tracing::warn!(error = chain(&error), "cannot note the signal");
        }
        if for_good {
            self.seat.stop(purpose == Purpose::Restart);
        }
        if self.seat.is_waiting() {
            // There is no process; that it shall not come is known now.
            return Ok(());
        }
        if *shared.paused() {
            if !for_good {
                return self.signal_later(shared, signal);
            }
            // It is to end, and can't standing still.
            self.set_paused(shared, false)?;
        }
        if signal == Signal::KILL && purpose != Purpose::Remove && shared.keeps_disk() {
            return kill_process(shared, &self.id);
        }
        send_signal(shared, &self.id, signal)
    }
}

impl Served {
    /// Records an event. What happens does not depend on it.
    fn tell(&self, action: &str) {
        let recorded = Database::open(&self.root.database())
            .and_then(|database| database.record_container(&self.id, action, Attributes::new()));
        if let Err(error) = recorded {
            tracing::warn!(error = chain(&error), "an event was not recorded");
        }
    }

    fn set_paused(&self, shared: &Arc<Shared>, pause: bool) -> Result<(), GuestError> {
        let database = Database::open(&self.root.database())?;
        pause::set(shared, &database, &self.id, pause)
    }

    fn checkpoint(
        &self,
        shared: &Arc<Shared>,
        name: &Name,
        leave_running: bool,
    ) -> Result<(), GuestError> {
        let database = Database::open(&self.root.database())?;
        let saved = Saved::make(&self.root, &database, &self.id, shared, name)?;
        if leave_running {
            return saved.go_on();
        }
        self.seat.stop(true);
        // It stands still up to its end: nothing happens that the checkpoint does not know.
        kill_process(shared, &self.id)?;
        saved.go_on()
    }

    /// A signal for a container that stands still is there when it goes on.
    fn signal_later(&self, shared: &Arc<Shared>, signal: Signal) -> Result<(), GuestError> {
        let (shared, id) = (shared.clone(), self.id.clone());
        let send = move || {
            if let Err(error) = send_signal(&shared, &id, signal) {
                tracing::debug!(error = chain(&error), "the signal did not come");
            }
        };
        let sends = thread::Builder::new().name("signal".into()).spawn(send);
        sends.map(drop).map_err(GuestError::Kill)
    }
}

/// Kills the container's process and lets what it has written come to its disk. A guest that doesn't do it is killed itself.
fn kill_process(shared: &Arc<Shared>, id: &ContainerId) -> Result<(), GuestError> {
    let request = AgentRequest::Signal {
        id: id.to_string(),
        signal: Signal::KILL.number(),
        all: false,
    };
    let asked = shared.agent().and_then(|mut agent| {
        agent
            .set_timeout(Some(KILL_ANSWER))
            .map_err(GuestError::Kill)?;
        Ok(agent.call(&request)?)
    });
    if let Err(error) = asked {
        tracing::info!(
            error = chain(&error),
            "the guest does not kill its container"
        );
        return shared.kill();
    }
    let shared = shared.clone();
    let wait = move || {
        if let Err(error) = shared.kill_after(KILL_PATIENCE) {
            tracing::error!(error = chain(&error), "the container goes on");
        }
    };
    let waits = thread::Builder::new().name("kill".into()).spawn(wait);
    waits.map(drop).map_err(GuestError::Kill)
}

/// Tells of a process's end; what it writes until then is for nobody.
fn follow(mut process: UnixStream, events: &ExecEvents) -> Result<(), frame::Error> {
    while let Some((kind, payload)) = frame::read(&mut process)? {
        if kind == Kind::Exited {
            let status: ExitStatus = serde_json::from_slice(&payload)?;
            events.end(status.code());
            break;
        }
    }
    Ok(())
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
            message: chain(&error),
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
