//! Requests of commands to a running container's monitor.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rvm_agent_protocol::frame::{self, Kind};

use crate::microvm;
use crate::monitor::protocol::{Failure, Request, Response};
use crate::root::ContainerFolder;

/// Why a monitor did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is none.
    #[error("the container is not running")]
    NotRunning,
    /// Its socket can't be used.
    #[error("cannot connect to the container's monitor")]
    Connect(#[source] io::Error),
    /// The connection failed.
    #[error("the connection to the container's monitor failed")]
    Frame(#[from] frame::Error),
    /// It refuses.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// It went while it was asked.
    #[error("the container's monitor has ended")]
    Gone,
}

/// Makes a request; the connection, for what follows.
pub fn request(folder: &ContainerFolder, request: &Request) -> Result<UnixStream, ClientError> {
    let connected = folder.with_socket_path(|path| UnixStream::connect(path));
    let mut stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning,
        _ => ClientError::Connect(error),
    })?;
    frame::write_json(&mut stream, Kind::Request, request).map_err(gone)?;
    match frame::read(&mut stream).map_err(gone)? {
        Some((Kind::Response, payload)) => {
            match serde_json::from_slice(&payload).map_err(frame::Error::from)? {
                Response::Ok => Ok(stream),
                Response::Failed(failure) => Err(failure.into()),
            }
        }
        _ => Err(ClientError::Gone),
    }
}

/// A monitor that ends while it is asked closes the connection at any point of it.
fn gone(error: frame::Error) -> ClientError {
    let closed = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::UnexpectedEof
        )
    };
    match error {
        frame::Error::Io(error) if closed(&error) => ClientError::Gone,
        other => other.into(),
    }
}

/// A connection to the agent in the container's guest.
pub fn connect_agent(folder: &ContainerFolder) -> Result<UnixStream, ClientError> {
    let stream = request(folder, &Request::Connect)?;
    let (_, fd) = microvm::receive(&stream, &mut [0]).map_err(frame::Error::from)?;
    fd.map(UnixStream::from).ok_or(ClientError::Gone)
}

/// Leaves the stream of a further process to the monitor, which tells of the process's end.
pub fn follow(
    folder: &ContainerFolder,
    exec: String,
    process: &UnixStream,
) -> Result<(), ClientError> {
    let stream = request(folder, &Request::Follow { exec })?;
    microvm::send(&stream, &[0], process.as_fd()).map_err(|error| gone(error.into()))
}
