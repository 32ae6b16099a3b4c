//! Files as block devices: loop devices that go with their last mount.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, openat};
use rustix::io::Errno;
use rvm_agent_protocol::CONTAINERS_DIR;

/// Numbers of `linux/loop.h` and of `Documentation/admin-guide/devices.txt`.
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const CONTROL: (u32, u32) = (10, 237);
const MAJOR: u32 = 7;

/// How often a device is looked for that nobody else takes meanwhile.
const TRIES: usize = 256;

/// `struct loop_config`, of which the agent sets little.
#[repr(C)]
struct Configuration {
    fd: u32,
    block_size: u32,
    /// The part of `struct loop_info64` before its flags.
    begin: [u8; 52],
    flags: u32,
    /// The part behind.
    end: [u8; 176],
    reserved: [u64; 8],
}

/// A device that can be mounted.
pub struct Device {
    path: String,
    /// Keeps a loop device until it is mounted.
    _open: Option<File>,
}

impl Device {
    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// The inherited file that has a name such as `fd:4`, which is taken.
pub fn inherited(name: &str) -> io::Result<Option<OwnedFd>> {
    let Some(number) = name.strip_prefix("fd:") else {
        return Ok(None);
    };
    let number: RawFd = number.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    if number <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: whoever has started the agent has given it this file for this, and names it once.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(number) }))
}

/// The device of that name, or a loop device for an inherited file.
pub fn of(name: &str, read_only: bool) -> io::Result<Device> {
    let Some(file) = inherited(name)? else {
        return Ok(Device {
            path: name.to_owned(),
            _open: None,
        });
    };
    with(&file, read_only)
}

/// A loop device for a file.
pub fn with(file: &OwnedFd, read_only: bool) -> io::Result<Device> {
    let control = File::from(open("loop-control", CONTROL)?);
    for _ in 0..TRIES {
        // SAFETY: the request takes no argument.
        let free = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        let free = u32::try_from(free).map_err(|_| io::Error::last_os_error())?;
        let node = format!("loop{free}");
        let device = File::from(open(&node, (MAJOR, free))?);
        match configure(&device, file, read_only) {
            // Somebody else has taken it.
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
            result => {
                result?;
                return Ok(Device {
                    path: format!("{CONTAINERS_DIR}/{node}"),
                    _open: Some(device),
                });
            }
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Opens a device by a node of the agent's own: nobody need have made one.
fn open(name: &str, (major, minor): (u32, u32)) -> io::Result<OwnedFd> {
    let path = format!("{CONTAINERS_DIR}/{name}");
    let mode = Mode::RUSR | Mode::WUSR;
    let kind = match major {
        MAJOR => FileType::BlockDevice,
        _ => FileType::CharacterDevice,
    };
    match mknodat(CWD, &path, kind, mode, makedev(major, minor)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(openat(
        CWD,
        &path,
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

fn configure(device: &File, file: &OwnedFd, read_only: bool) -> io::Result<()> {
    // SAFETY: the structure is plain integers.
    let mut configuration: Configuration = unsafe { mem::zeroed() };
    configuration.fd = file.as_raw_fd() as u32;
    configuration.flags = LO_FLAGS_AUTOCLEAR;
    if read_only {
        configuration.flags |= LO_FLAGS_READ_ONLY;
    }
    // SAFETY: the request takes a pointer to a loop_config, which outlives the call.
    match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const configuration) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_as_large_as_the_kernels() {
        assert_eq!(mem::size_of::<Configuration>(), 304);
        assert_eq!(mem::offset_of!(Configuration, flags), 8 + 52);
    }
}
