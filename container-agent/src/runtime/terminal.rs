//! A terminal from the container's devpts for the calling process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::mount_bind;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{InputModes, OptionalActions, tcgetattr, tcsetattr};

/// Has the erase key erase a character, of however many bytes: terminals speak UTF-8 these days.
pub fn speak_utf8(terminal: impl AsFd) -> io::Result<()> {
    let mut modes = tcgetattr(&terminal)?;
    modes.input_modes.insert(InputModes::IUTF8);
    Ok(tcsetattr(&terminal, OptionalActions::Now, &modes)?)
}

/// Opens a terminal, sends its master to `socket`, and makes it the controlling terminal and the standard streams. A container's
/// first process has it as /dev/console, too.
pub fn set_up(socket: &OwnedFd, owner: u32, console: bool) -> io::Result<()> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = rustix::fs::openat(
        CWD,
        &name,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    speak_utf8(&slave)?;
    if owner != 0 {
        rustix::fs::fchown(&slave, Some(Uid::from_raw(owner)), None::<Gid>)?;
    }
    if console {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, "/dev/console", flags, Mode::from_raw_mode(0o666)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        mount_bind(&name, "/dev/console")?;
    }
    let descriptors = [std::os::fd::AsFd::as_fd(&master)];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(
        socket,
        &[io::IoSlice::new(b"t")],
        &mut ancillary,
        SendFlags::empty(),
    )?;
    rustix::process::ioctl_tiocsctty(&slave)?;
    for to in 0..3 {
        // SAFETY: dup2 takes no pointers; 0, 1 and 2 belong to nobody but the standard streams.
        if unsafe { libc::dup2(slave.as_raw_fd(), to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
