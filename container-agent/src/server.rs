//! The loop: waits for events and passes them on to connections, streams and containers.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rvm_agent_protocol::{Failure, FailureKind, Kind, RequestOf, Response, WindowSize, frame};

use crate::child::{self, Children};
use crate::connection::Connection;
use crate::container::Containers;
use crate::machine::Machine;
use crate::poll::{Event, Poll, Role, Watched};
use crate::spec::{Process, Spec};
use crate::stream::{Origin, Stream};
use crate::transport::Transport;
use crate::{console, guest};

type Request = RequestOf<Spec, Process>;

const LISTENER: u32 = 0;
const SIGNALS: u32 = 1;

/// Everything the agent knows.
pub struct Server {
    poll: Poll,
    listener: Watched,
    children: Children,
    next_id: u32,
    connections: BTreeMap<u32, Connection>,
    streams: BTreeMap<u32, Stream>,
    /// The streams of the processes that run, by process id.
    running: BTreeMap<i32, u32>,
    containers: Containers,
    guest: guest::Guest,
    machine: Machine,
    transport: Transport,
}

impl Server {
    /// Prepares to serve the connections that `listener` accepts, and `first`, which is open already.
    pub fn new(
        listener: OwnedFd,
        first: Option<OwnedFd>,
        children: child::Children,
        machine: Machine,
        transport: Transport,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = Watched::new(&poll, listener, LISTENER, Role::Listener);
        listener.want_read(true)?;
        let mut children = children;
        children.watch(&poll, SIGNALS)?;
        let mut server = Self {
            poll,
            listener,
            children,
            next_id: SIGNALS + 1,
            connections: BTreeMap::new(),
            streams: BTreeMap::new(),
            running: BTreeMap::new(),
            containers: Containers::new(machine),
            guest: guest::Guest::new(machine),
            machine,
            transport,
        };
        if let Some(socket) = first {
            server.connect(socket)?;
        }
        Ok(server)
    }

    /// Serves until the end of the guest.
    pub fn run(mut self) -> io::Result<()> {
        // While the host learns that the guest is ready and thinks of its first request. An error is that request's answer.
        let _ = self.guest.prepare();
        loop {
            let timeout = self.streams.values().filter_map(Stream::deadline).min();
            let timeout = timeout.map(|t| t.saturating_duration_since(Instant::now()));
            for event in self.poll.wait(timeout)? {
                self.handle(event);
            }
            if timeout.is_some() {
                self.expire();
            }
        }
    }

    fn handle(&mut self, Event { id, role }: Event) {
        match role {
            Role::Listener => match self.transport.accept(&self.listener) {
                // The host has let go of its sandbox.
                Ok(None) => self.machine.off(),
                Ok(Some(socket)) => {
                    if let Err(e) = self.connect(socket) {
                        console::warn("a connection could not be watched", &e);
                    }
                }
                Err(e) => console::warn("a connection could not be accepted", &e),
            },
            Role::Signals => self.reap(),
            Role::Connection => {
                if let Err(e) = self.converse(id) {
                    self.disconnect(id, &e);
                }
            }
            Role::Stdin => {
                let Some(stream) = self.streams.get_mut(&id) else {
                    return;
                };
                stream.write_stdin();
                if let Some(connection) = stream.connection.filter(|_| !stream.is_fed()) {
                    self.serve(connection);
                }
            }
            Role::Stdout | Role::Stderr => self.pump(id),
        }
    }

    fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    fn connect(&mut self, socket: OwnedFd) -> io::Result<()> {
        let id = self.id();
        let connection = Connection::new(&self.poll, socket, id)?;
        self.connections.insert(id, connection);
        Ok(())
    }

    /// Reads from and writes to a connection that is ready.
    fn converse(&mut self, id: u32) -> Result<(), frame::Error> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Ok(());
        };
        connection.flush()?;
        connection.receive()?;
        if let Some(stream) = connection.stream {
            self.pump(stream);
        }
        self.serve(id);
        Ok(())
    }

    /// Serves the frames that a connection has received, as far as they can be served now.
    fn serve(&mut self, id: u32) {
        // Requests that come together are answered together.
        let served = self
            .serve_frames(id)
            .and_then(|()| match self.connections.get_mut(&id) {
                Some(connection) => Ok(connection.flush()?),
                None => Ok(()),
            });
        if let Err(e) = served {
            self.disconnect(id, &e);
        } else if self.connections.get(&id).is_some_and(Connection::is_done) {
            self.connections.remove(&id);
        } else {
            self.unblock(id);
        }
    }

    /// Output that was held back goes on where a flush has made room: no event would say so.
    fn unblock(&mut self, connection: u32) {
        let connection = self.connections.get(&connection);
        let stream = connection.filter(|connection| !connection.is_full());
        let stream = stream.and_then(|connection| connection.stream);
        let blocked = |id: &u32| self.streams.get(id).is_some_and(Stream::is_blocked);
        if let Some(id) = stream.filter(blocked) {
            self.pump(id);
        }
    }

    fn serve_frames(&mut self, id: u32) -> Result<(), frame::Error> {
        while let Some(connection) = self.connections.get_mut(&id) {
            let fed = connection
                .stream
                .and_then(|s| self.streams.get(&s))
                .is_some_and(Stream::is_fed);
            connection.pause(fed)?;
            if fed {
                break;
            }
            let Some((kind, payload)) = connection.next_frame()? else {
                break;
            };
            let stream = connection.stream.and_then(|s| self.streams.get_mut(&s));
            match (kind, stream) {
                (Kind::Request, None) => {
                    let response = self.answer(id, serde_json::from_slice(&payload)?);
                    self.respond(id, &response)?;
                }
                (Kind::Stdin, Some(stream)) => stream.feed(payload),
                (Kind::StdinClosed, Some(stream)) => stream.end_stdin(),
                (Kind::Resize, Some(stream)) => {
                    let window: WindowSize = serde_json::from_slice(&payload)?;
                    stream.resize(window)?;
                }
                (Kind::Stdin | Kind::StdinClosed | Kind::Resize, None)
                    if connection.is_closing() => {}
                (kind, _) => return Err(frame::Error::Kind(kind as u8)),
            }
        }
        Ok(())
    }

    fn respond(&mut self, id: u32, response: &Response) -> Result<(), frame::Error> {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.push(Kind::Response, &serde_json::to_vec(response)?)?;
        }
        Ok(())
    }

    fn answer(&mut self, connection: u32, request: Request) -> Response {
        self.try_answer(connection, request)
            .unwrap_or_else(Response::Failed)
    }

    fn try_answer(&mut self, connection: u32, request: Request) -> Result<Response, Failure> {
        match request {
            Request::Configure(guest) => self.guest.configure(&guest)?,
            Request::Prepare(prepare) => {
                self.guest.prepare()?;
                self.guest.bring_network_up(prepare.network)?;
                self.containers.prepare(*prepare)?;
            }
            Request::Create(create) => {
                let (pid, ends) = self.containers.create(*create, &mut self.children)?;
                let stream = self.add_stream(pid, ends, Origin::Init)?;
                self.containers.set_stream(pid, stream);
                return Ok(Response::Created { pid });
            }
            Request::Hold { id } => self.containers.hold(&id)?,
            Request::Adopt(adopt) => self.containers.adopt(*adopt)?,
            Request::Start { id, window } => {
                let stream = self.containers.stream(&id)?;
                if let (Some(window), Some(stream)) = (window, self.streams.get(&stream)) {
                    stream.resize(window).map_err(other)?;
                }
                self.containers.start(&id)?;
                self.attach(stream, connection)?;
            }
            Request::Quiesce { id, quiet } => self.quiesce(&id, quiet)?,
            Request::Attach { id, files } => {
                self.containers.write_files(&id, &files)?;
                let stream = self.containers.stream(&id)?;
                if !self.streams.contains_key(&stream) {
                    return Err(other(io::ErrorKind::NotConnected.into()));
                }
                let before = self.streams.get(&stream).and_then(|s| s.connection);
                if let Some(before) = before {
                    self.connections.remove(&before);
                }
                self.attach(stream, connection)?;
                self.quiesce(&id, false)?;
            }
            Request::Exec(exec) => {
                let window = exec.window;
                let (pid, ends) = self.containers.exec(*exec)?;
                let stream = self.add_stream(pid, ends, Origin::Exec)?;
                if let (Some(window), Some(stream)) = (window, self.streams.get(&stream)) {
                    stream.resize(window).map_err(other)?;
                }
                self.attach(stream, connection)?;
                return Ok(Response::Created { pid });
            }
            Request::Archive { id, action } => {
                let (pid, ends) = self.containers.archive(&id, action)?;
                let stream = self.add_stream(pid, ends, Origin::Exec)?;
                self.attach(stream, connection)?;
                return Ok(Response::Created { pid });
            }
            Request::Signal { id, signal, all } => self.containers.signal(&id, signal, all)?,
            Request::Limit { id, limits } => self.containers.limit(&id, limits)?,
            Request::Freeze { id, freeze } => self.containers.freeze(&id, freeze)?,
            Request::Kill { id, pid } => self.containers.kill(&id, pid),
            Request::Resize { id, window } => {
                let stream = self.containers.stream(&id)?;
                if let Some(stream) = self.streams.get(&stream) {
                    stream.resize(window).map_err(other)?;
                }
            }
            Request::Delete { id } => {
                self.containers.delete(&id, &mut self.children)?;
                self.reap();
            }
            Request::Observe { id, what } => {
                let files = self.containers.observe(&id, what)?;
                return Ok(Response::Observed { files });
            }
            Request::Shutdown => {
                self.containers.end_all(&mut self.children);
                if self.respond(connection, &Response::Ok).is_ok()
                    && let Some(connection) = self.connections.remove(&connection)
                {
                    connection.finish();
                }
                self.machine.off();
            }
        }
        Ok(Response::Ok)
    }

    fn add_stream(
        &mut self,
        pid: i32,
        ends: crate::stream::Ends,
        origin: Origin,
    ) -> Result<u32, Failure> {
        let id = self.id();
        let stream = Stream::new(&self.poll, ends, id, origin).map_err(other)?;
        self.streams.insert(id, stream);
        self.running.insert(pid, id);
        Ok(id)
    }

    fn attach(&mut self, stream: u32, connection: u32) -> Result<(), Failure> {
        if let (Some(s), Some(c)) = (
            self.streams.get_mut(&stream),
            self.connections.get_mut(&connection),
        ) {
            s.connection = Some(connection);
            c.stream = Some(stream);
            s.run().map_err(other)?;
        }
        Ok(())
    }

    /// Stops a container and its output, or lets them go on. What is on its way has left the agent when this has been answered, or
    /// else it fails.
    fn quiesce(&mut self, id: &str, quiet: bool) -> Result<(), Failure> {
        let id_of_stream = self.containers.stream(id)?;
        self.containers.freeze(id, quiet)?;
        if let Some(stream) = self.streams.get_mut(&id_of_stream) {
            stream.set_quiet(quiet).map_err(other)?;
            let connection = stream.connection.filter(|_| quiet);
            if let Some(connection) = connection.and_then(|c| self.connections.get_mut(&c)) {
                connection.flush().map_err(other)?;
                if !connection.is_sent() {
                    return Err(Failure {
                        kind: FailureKind::Busy,
                        message: "nobody takes the container's output".to_owned(),
                    });
                }
            }
        }
        if !quiet {
            self.pump(id_of_stream);
        }
        Ok(())
    }

    /// Moves a process's output on, and ends its connection after the last of it.
    fn pump(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let connection_id = stream.connection;
        let connection = connection_id.and_then(|c| self.connections.get_mut(&c));
        let Some(connection) = connection else {
            if stream.pump(None).is_some() {
                self.streams.remove(&id);
            }
            return;
        };
        let flushed = loop {
            let exit = stream.pump(Some(connection));
            if let Some(status) = exit {
                connection.stream = None;
                connection.close_when_sent();
                if let Ok(status) = serde_json::to_vec(&status) {
                    // An exit status is far shorter than a frame may be.
                    let _ = connection.push(Kind::Exited, &status);
                }
            }
            let flushed = connection.flush();
            // What was held back for want of room goes on at once if the flush has made some: no event would say so.
            if exit.is_some() || flushed.is_err() || connection.is_full() || !stream.is_blocked() {
                if exit.is_some() {
                    self.streams.remove(&id);
                }
                break flushed;
            }
        };
        let done = connection.is_done();
        match (flushed, connection_id) {
            (Err(e), Some(connection)) => self.disconnect(connection, &e.into()),
            (Ok(()), Some(connection)) if done => {
                self.connections.remove(&connection);
            }
            _ => {}
        }
    }

    /// Forgets a connection; the process whose stream it was goes on.
    fn disconnect(&mut self, id: u32, why: &frame::Error) {
        if !matches!(why, frame::Error::Io(_)) {
            console::warn("a connection was dropped", why);
        }
        let stream = self.connections.remove(&id).and_then(|c| c.stream);
        if let Some(id) = stream {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.connection = None;
            }
            self.pump(id);
        }
    }

    /// Collects ended children, the processes that were left to PID 1 included.
    fn reap(&mut self) {
        self.children.acknowledge();
        while let Some((pid, status)) = self.children.next_ended() {
            let status = self.containers.ended(pid, status);
            if let Some(id) = self.running.remove(&pid) {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.exited(status);
                }
                self.pump(id);
            }
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let expired = self
            .streams
            .iter()
            .filter(|(_, s)| s.deadline().is_some_and(|t| t <= now));
        for id in expired.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.pump(id);
        }
    }
}

fn other(error: io::Error) -> Failure {
    Failure {
        kind: FailureKind::Other,
        message: format!("standard streams could not be set up: {error}"),
    }
}
