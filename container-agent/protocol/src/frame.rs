//! Frames: the unit in which both directions of a connection are cut.
//!
//! On the wire a frame is its payload's length (`u32`, little-endian), its kind (`u8`), and the payload.

use std::io::{self, Read, Write};

/// The longest payload that either side accepts, in bytes. A [`crate::CreateOf`] with a large environment fits.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// The longest payload of [`Kind::Stdin`], [`Kind::Stdout`] and [`Kind::Stderr`], in bytes.
pub const MAX_CHUNK: usize = 32 << 10;

/// Bytes before the payload.
pub const HEADER_LEN: usize = 5;

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A [`crate::RequestOf`] as JSON.
    Request = 0,
    /// A [`crate::Response`] as JSON.
    Response = 1,
    /// Bytes for the process's standard input.
    Stdin = 2,
    /// Nothing: the process's standard input has ended.
    StdinClosed = 3,
    /// Bytes of the process's standard output, or of its terminal.
    Stdout = 4,
    /// Bytes of the process's standard error.
    Stderr = 5,
    /// A [`crate::WindowSize`] as JSON, for the process's terminal.
    Resize = 6,
    /// An [`crate::ExitStatus`] as JSON.
    Exited = 7,
}

impl TryFrom<u8> for Kind {
    type Error = Error;

    fn try_from(byte: u8) -> Result<Self, Error> {
        Ok(match byte {
            0 => Self::Request,
            1 => Self::Response,
            2 => Self::Stdin,
            3 => Self::StdinClosed,
            4 => Self::Stdout,
            5 => Self::Stderr,
            6 => Self::Resize,
            7 => Self::Exited,
            other => return Err(Error::Kind(other)),
        })
    }
}

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("connection to the other side of the vsock failed")]
    Io(#[from] io::Error),
    /// The header names a kind that does not exist.
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// The header announces more than [`MAX_PAYLOAD`].
    #[error("frame of {0} bytes, more than {MAX_PAYLOAD}")]
    TooLong(usize),
    /// The payload is not the JSON that its kind asks for.
    #[error("frame whose payload is not understood")]
    Json(#[from] serde_json::Error),
}

/// Decodes a header into the payload's kind and length.
pub fn decode_header(header: [u8; HEADER_LEN]) -> Result<(Kind, usize), Error> {
    let [a, b, c, d, kind] = header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > MAX_PAYLOAD {
        return Err(Error::TooLong(length));
    }
    Ok((Kind::try_from(kind)?, length))
}

/// Encodes the header of a frame.
pub fn encode_header(kind: Kind, length: usize) -> Result<[u8; HEADER_LEN], Error> {
    if length > MAX_PAYLOAD {
        return Err(Error::TooLong(length));
    }
    let [a, b, c, d] = (length as u32).to_le_bytes();
    Ok([a, b, c, d, kind as u8])
}

/// Reads one frame; `None` when the other side has closed the connection between two frames.
pub fn read(from: &mut impl Read) -> Result<Option<(Kind, Vec<u8>)>, Error> {
    let mut header = [0; HEADER_LEN];
    let mut filled = 0;
    while filled < HEADER_LEN {
        match from.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    let (kind, length) = decode_header(header)?;
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    Ok(Some((kind, payload)))
}

/// Writes one frame with one write.
pub fn write(to: &mut impl Write, kind: Kind, payload: &[u8]) -> Result<(), Error> {
    let mut frame = Vec::with_capacity(HEADER_LEN + payload.len());
    frame.extend_from_slice(&encode_header(kind, payload.len())?);
    frame.extend_from_slice(payload);
    to.write_all(&frame)?;
    Ok(())
}

/// Writes one frame whose payload is `value` as JSON.
pub fn write_json(
    to: &mut impl Write,
    kind: Kind,
    value: &impl serde::Serialize,
) -> Result<(), Error> {
    write(to, kind, &serde_json::to_vec(value)?)
}
