//! passt(1): without root a container's packets go to a process of the user's, which makes of them connections of its own, and of
//! connections to published ports packets.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Endpoint, MTU, NetworkError, mac};
use crate::options::mac::MacAddress;
use crate::options::port::{Protocol, Publish};
use crate::rootless;

/// Its end of the link.
const LINK: RawFd = 3;

/// What is wanted of room for packets on their way to the container, in bytes; the host may have a lower limit.
const SEND_BUFFER: usize = 1 << 20;

/// How long it may take to end, in seconds, once it is killed.
const END_LIMIT: i64 = 5;

/// The most of what it says that is told.
const SAID_LIMIT: u64 = 1024;

/// A connection between a container's network interface and passt. Frames go over it behind their lengths (`u32`, big-endian).
#[derive(Debug)]
pub struct Link {
    /// The interface's end.
    pub inside: OwnedFd,
    outside: OwnedFd,
}

impl Link {
    /// A new one.
    pub fn new() -> Result<Self, NetworkError> {
        let (inside, outside) = UnixStream::pair().map_err(NetworkError::Passt)?;
        // passt loses what does not fit. The other direction stays as it is: passt of 2023 cuts what comes in more than 8 MiB at once.
        rustix::net::sockopt::set_socket_send_buffer_size(&outside, SEND_BUFFER)
            .map_err(|error| NetworkError::Passt(error.into()))?;
        Ok(Self {
            inside: inside.into(),
            outside: outside.into(),
        })
    }

    /// Tells passt the container's MAC address, to which it sends nothing before it has seen a frame from there: a question for the
    /// gateway's (RFC 826), of which the container may take or leave the answer.
    fn introduce(&self, endpoint: &Endpoint) -> io::Result<()> {
        const BROADCAST: [u8; 6] = [0xff; 6];
        const ETHERTYPE: [u8; 2] = [0x08, 0x06];
        // Ethernet, IPv4, their addresses' lengths, a request.
        const REQUEST: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 1];
        let frame = [
            &BROADCAST[..],
            &endpoint.mac,
            &ETHERTYPE,
            &REQUEST,
            &endpoint.mac,
            &endpoint.address.octets(),
            &[0; 6],
            &endpoint.gateway.octets(),
        ]
        .concat();
        let length = (frame.len() as u32).to_be_bytes();
        rustix::io::write(&self.inside, &[&length[..], &frame].concat())?;
        Ok(())
    }
}

/// A running passt. It ends with its link, and at the latest when this value is dropped; then the published ports are free.
#[derive(Debug)]
pub struct Passt {
    process: OwnedFd,
}

impl Passt {
    /// Starts one for a container.
    pub fn start(endpoint: &Endpoint, link: &Link) -> Result<Self, NetworkError> {
        let mut command = Command::new("passt");
        command
            .env_clear()
            .env("PATH", rootless::PATH)
            .args(["--quiet", "--ipv4-only", "--no-dhcp", "--dns", "none"])
            // The host's own loopback is none of the container's business.
            .arg("--no-map-gw")
            // It goes to the background when the ports are there, and says as which process.
            .args(["--pid", "/dev/stdout"])
            .args(["--fd", &LINK.to_string()])
            // It asks an interface for what it is not told, which is nothing: the one that every host has will do.
            .args(["--interface", "lo"])
            .args(["--address", &endpoint.address.to_string()])
            .args(["--netmask", &endpoint.prefix.to_string()])
            .args(["--gateway", &endpoint.gateway.to_string()])
            .args(["--mac-addr", &MacAddress(mac(endpoint.gateway)).to_string()])
            .args(["--mtu", &MTU.to_string()])
            .args(forwards(&endpoint.ports, Protocol::Tcp, "--tcp-ports"))
            .args(forwards(&endpoint.ports, Protocol::Udp, "--udp-ports"));
        let started = run(command, &link.outside).and_then(|process| {
            let passt = Self { process };
            link.introduce(endpoint)?;
            Ok(passt)
        });
        started.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NetworkError::NoPasst,
            _ => NetworkError::Passt(error),
        })
    }
}

/// The options that publish the ports of a protocol.
fn forwards(ports: &[Publish], protocol: Protocol, option: &str) -> Vec<String> {
    let ports = ports.iter().filter(|port| port.protocol == protocol);
    let specs = ports.map(|port| {
        let Publish {
            host_address,
            host_port,
            container_port,
            ..
        } = port;
        format!("{host_address}/{host_port}:{container_port}")
    });
    let mut arguments: Vec<String> = specs.flat_map(|spec| [option.to_owned(), spec]).collect();
    if arguments.is_empty() {
        arguments = vec![option.to_owned(), "none".to_owned()];
    }
    arguments
}

/// Waits until it is in the background; a handle of what is there.
fn run(mut command: Command, link: &OwnedFd) -> io::Result<OwnedFd> {
    // A file and no pipe: what is in the background keeps it.
    let mut said = File::from(rustix::fs::memfd_create("passt", MemfdFlags::CLOEXEC)?);
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(said.try_clone()?);
    let mapping = FdMapping {
        parent_fd: link.try_clone()?,
        child_fd: LINK,
    };
    command
        .fd_mappings(vec![mapping])
        .map_err(io::Error::other)?;
    let mut child = command.spawn()?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output.take(SAID_LIMIT)).read_line(&mut line)?;
    }
    let status = child.wait()?;
    let pid = line.trim().parse().ok().and_then(Pid::from_raw);
    match pid.filter(|_| status.success()) {
        // While its link is open here, it has not ended.
        Some(pid) => Ok(pidfd_open(pid, PidfdFlags::empty())?),
        None => {
            let mut text = String::new();
            said.rewind()?;
            said.take(SAID_LIMIT).read_to_string(&mut text)?;
            let mut lines = text.lines().filter(|line| !line.contains("to syslog"));
            let last = lines.next_back().unwrap_or_default();
            Err(io::Error::other(format!("{last} ({status})")))
        }
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        let limit = Timespec {
            tv_sec: END_LIMIT,
            tv_nsec: 0,
        };
        // It may have ended by itself.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        let ended = poll(
            &mut [PollFd::new(&self.process, PollFlags::IN)],
            Some(&limit),
        );
        if !matches!(ended, Ok(1..)) {
            tracing::warn!("passt does not end");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn ports_are_published_by_protocol() {
        let port = |host_port, protocol| Publish {
            host_address: Ipv4Addr::UNSPECIFIED,
            host_port,
            container_port: 80,
            protocol,
        };
        let ports = [port(8080, Protocol::Tcp), port(8081, Protocol::Tcp)];
        assert_eq!(
            forwards(&ports, Protocol::Tcp, "-t"),
            ["-t", "0.0.0.0/8080:80", "-t", "0.0.0.0/8081:80"]
        );
        assert_eq!(forwards(&ports, Protocol::Udp, "-u"), ["-u", "none"]);
    }
}
