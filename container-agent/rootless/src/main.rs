//! Started in a user namespace of its own, without root on the host: mounts the layers that a sandbox's agent cannot mount
//! there, starts the agent, and serves the layers until it ends. It is the network interface, too.
//!
//! `rvm-rootless AGENT LAYERS none|link [FOLDER]`: the descriptors are those of a sandbox, its socket and as many layers, and behind them
//! that of FOLDER, for what the container writes, and with `link` a stream socket. Those of layers and folder become those of mounts.

mod layer;
mod relay;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;

use fuser::{Config, Session, SessionACL};
use layer::Layer;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::FdFlags;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

/// The sandbox's socket; the layers follow.
const SOCKET: RawFd = 3;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            // As the agent says it: to whoever waits at the other end.
            // SAFETY: nobody else in this process has this descriptor, if there is one.
            let socket = unsafe { OwnedFd::from_raw_fd(SOCKET) };
            let message = format!("without root: {error}");
            let _ = rustix::net::send(&socket, message.as_bytes(), rustix::net::SendFlags::empty());
            eprintln!("rvm-rootless: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<ExitCode> {
    // Asked for again: the kernel forgets it where a process's identity changes.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut arguments = std::env::args_os().skip(1);
    let (agent, layers) = (arguments.next(), arguments.next());
    let (network, folder) = (arguments.next(), arguments.next());
    let layers = layers.and_then(|count| count.to_str()?.parse::<u16>().ok());
    let (Some(agent), Some(layers), Some(network)) = (agent, layers, network) else {
        return Err(io::Error::other(
            "started by rvm; there is nothing to do for it here",
        ));
    };
    let first = SOCKET + 1;
    let behind = first + RawFd::from(layers);
    let mut served = Vec::new();
    for number in first..behind {
        // SAFETY: each is inherited, and this process's own.
        let file = unsafe { File::from_raw_fd(number) };
        let layer = Layer::open(file.try_clone()?)?;
        let (mount, connection) = mount().map_err(said("a layer could not be mounted by FUSE"))?;
        let mut place = OwnedFd::from(file);
        rustix::io::dup2(&mount, &mut place)?;
        served.push((layer, connection, place));
    }
    let network = match network == "link" {
        true => {
            let number = behind + RawFd::from(folder.is_some());
            // SAFETY: it is inherited, and this process's own.
            let link = unsafe { UnixStream::from_raw_fd(number) };
            rustix::io::fcntl_setfd(&link, FdFlags::CLOEXEC)?;
            let tap = relay::tap().map_err(said(
                "the network interface could not be made (/dev/net/tun has to be open to everybody)",
            ))?;
            Some((tap, link))
        }
        false => None,
    };
    let folder = folder
        .map(|path| bind(Path::new(&path), behind))
        .transpose()?;
    let agent = start(Path::new(&agent))?;
    drop(folder);
    // SAFETY: the agent has it now, and nobody else in this process.
    drop(unsafe { OwnedFd::from_raw_fd(SOCKET) });
    if let Some((tap, link)) = network {
        relay::start(tap, link);
    }
    for (layer, connection, place) in served {
        drop(place);
        thread::spawn(move || serve(layer, connection));
    }
    let waited = rustix::io::retry_on_intr(|| waitpid(Some(agent), WaitOptions::empty()))?;
    let code = waited.and_then(|(_, status)| status.exit_status());
    Ok(ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
    ))
}

fn said(what: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Makes the descriptor of that number, which is inherited, one of a mount of the folder.
fn bind(folder: &Path, number: RawFd) -> io::Result<OwnedFd> {
    let mount = open_tree(CWD, folder, OpenTreeFlags::OPEN_TREE_CLONE)
        .map_err(io::Error::from)
        .map_err(said(
            "the folder for what the container writes could not be bound",
        ))?;
    // SAFETY: nobody else in this process has it.
    let mut place = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::dup2(&mount, &mut place)?;
    Ok(place)
}

/// A mount that is nowhere yet, and where its requests come in.
fn mount() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let connection = rustix::fs::open("/dev/fuse", flags, Mode::empty())?;
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let descriptor = connection.as_raw_fd().to_string();
    for (key, value) in [
        ("source", "rvm"),
        ("fd", descriptor.as_str()),
        ("rootmode", "40000"),
        ("user_id", "0"),
        ("group_id", "0"),
    ] {
        fsconfig_set_string(context.as_fd(), key, value)?;
    }
    // The kernel judges by owners and modes, for all of the container's users.
    for key in ["ro", "default_permissions", "allow_other"] {
        fsconfig_set_flag(context.as_fd(), key)?;
    }
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok((mount, connection))
}

/// Starts the agent as the first process of a process namespace. Before there are threads, which a fork would leave behind.
fn start(agent: &Path) -> io::Result<Pid> {
    let flags = libc::CLONE_NEWPID | libc::SIGCHLD;
    // SAFETY: without CLONE_VM it is a fork, and there is only this thread: the child may go on as the parent does.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        0 => {}
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            return pid.ok_or_else(io::Error::last_os_error);
        }
    }
    let error = match rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        Ok(()) => Command::new(agent)
            .args(["--sandbox", &SOCKET.to_string(), "--rootless"])
            .env_clear()
            .exec(),
        Err(error) => error.into(),
    };
    Err(said("the agent could not be started")(error))
}

fn serve(layer: Layer, connection: OwnedFd) {
    let config = Config::default();
    let served =
        Session::from_fd(layer, connection, SessionACL::All, config).and_then(Session::run);
    if let Err(error) = served {
        eprintln!("rvm-rootless: a layer is served no more: {error}");
    }
}
