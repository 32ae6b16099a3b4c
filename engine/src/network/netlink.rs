//! Messages of netlink(7): attributes, and one question at a time.

use std::io;

use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send,
};

/// `struct nlmsghdr`, with which the kernel's answer begins, too; behind it is an error number if that is what it is.
const HEADER: usize = 16;

/// Adds a `struct nlattr` and its content, filled up to four bytes.
pub fn attribute(body: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = (4 + content.len()) as u16;
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(content);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A name as the kernel takes it.
pub fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// Sends a message, and waits for the kernel's first word on it: an error, or that there is none, or what was asked for.
pub fn ask(protocol: Option<Protocol>, kind: u16, flags: i32, body: &[u8]) -> io::Result<()> {
    let socket: OwnedFd = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    // The sequence and the port, which only those need who ask several things at once.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 4096];
    let (_, length) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    let answer = &answer[..length.min(answer.len())];
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok());
    if kind.map(u16::from_ne_bytes) != Some(libc::NLMSG_ERROR as u16) {
        return kind.map(drop).ok_or(io::ErrorKind::InvalidData.into());
    }
    let code = answer.get(HEADER..HEADER + 4);
    match code
        .and_then(|code| code.try_into().ok())
        .map(i32::from_ne_bytes)
    {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
