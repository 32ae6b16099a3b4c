//! The sandbox's network interface: a tap, and whatever is at the other end of a stream socket, over which frames go behind their
//! lengths (big-endian `u32`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

/// What the container calls it.
const NAME: &[u8] = b"eth0";

const LENGTH_SIZE: usize = 4;

/// The largest frame of an interface whose packets have 65,535 bytes at most.
const MAX_FRAME: usize = 14 + 65535;

/// Makes the tap in the network namespace of the caller.
pub fn tap() -> io::Result<File> {
    let tap = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    // SAFETY: an ifreq is plain data for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
    // SAFETY: the request takes a pointer to an ifreq, which is alive.
    match unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(tap),
    }
}

/// Passes frames on, both ways, until the socket's other end is gone.
pub fn start(tap: File, socket: UnixStream) {
    let ends = Arc::new((tap, socket));
    let others = ends.clone();
    thread::spawn(move || said(outward(&others.0, &others.1)));
    thread::spawn(move || said(inward(&ends.0, &ends.1)));
}

fn said(result: io::Result<()>) {
    if let Err(error) = result {
        eprintln!("rvm-rootless: the network is no more: {error}");
    }
}

fn outward(mut tap: &File, mut socket: &UnixStream) -> io::Result<()> {
    let mut bytes = vec![0; LENGTH_SIZE + MAX_FRAME];
    loop {
        let length = tap.read(&mut bytes[LENGTH_SIZE..])?;
        let frame = &bytes[LENGTH_SIZE..][..length];
        if is_for_loopback(frame) {
            continue;
        }
        bytes[..LENGTH_SIZE].copy_from_slice(&(length as u32).to_be_bytes());
        socket.write_all(&bytes[..LENGTH_SIZE + length])?;
    }
}

fn inward(mut tap: &File, mut socket: &UnixStream) -> io::Result<()> {
    let mut bytes = vec![0; MAX_FRAME];
    loop {
        let mut length = [0; LENGTH_SIZE];
        socket.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        let frame = bytes.get_mut(..length).ok_or(io::ErrorKind::InvalidData)?;
        socket.read_exact(frame)?;
        // A network may lose packets: the interface may be down.
        let _ = tap.write(frame);
    }
}

/// Whether it is to an address that means the host itself to a process there, which makes connections for the container: no network
/// has a way there.
fn is_for_loopback(frame: &[u8]) -> bool {
    const ETHERTYPE: std::ops::Range<usize> = 12..14;
    const IPV4: [u8; 2] = [0x08, 0x00];
    const DESTINATION: usize = 14 + 16;
    frame.get(ETHERTYPE) == Some(&IPV4) && matches!(frame.get(DESTINATION), Some(0 | 127))
}
