//! The first process of a guest, or of a sandbox on the host: becomes ready, then serves the host.
//!
//! It is started by the kernel in an initramfs that holds nothing else. Every system call here is paid at every cold start,
//! so the host is told as soon as it can connect; file systems, network and the rest follow when they are asked for.
//! Rust's own start-up is left out with `no_main`: it would make a dozen calls, and have every container ignore SIGPIPE.

#![cfg_attr(not(test), no_main)]

mod archive;
mod cgroup;
mod child;
mod connection;
mod console;
mod container;
mod device_rules;
mod guest;
mod guest_devices;
mod inside;
mod loop_device;
mod machine;
mod netlink;
mod network;
mod observe;
mod oci_runtime;
mod poll;
mod rootfs;
mod runtime;
mod sandbox;
mod server;
mod shutdown;
mod spec;
mod stdio;
mod stream;
mod transport;
mod user;

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use machine::Machine;
use rustix::process::DumpableBehavior;
use rvm_agent_protocol::INIT;
use transport::Transport;

/// Called by the C start-up code.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, allow(dead_code))]
pub extern "C" fn main(_count: libc::c_int, _arguments: *const *const libc::c_char) -> libc::c_int {
    let (transport, machine, sandbox) = match Mode::of_arguments() {
        Mode::Guest => (Transport::Vsock, Machine::Own, None),
        Mode::Sandbox(socket, kind) => (Transport::Inherited(socket), Machine::Host, Some(kind)),
        Mode::Test(path) => (Transport::Unix(path.into()), Machine::Borrowed, None),
        Mode::CleanUp(group) => return clean_up(&group),
        Mode::Init => return init(),
        Mode::Nothing => {
            console::say(
                "started by rvm, as the first process of a guest or a sandbox; there is nothing to do for it here",
            );
            return 2;
        }
    };
    shutdown::power_off_on_panic(machine);
    // A container's process that is not yet its command has the agent's memory. It is not for those who may look into its own.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(e) = sandbox.map_or(Ok(()), sandbox::enter) {
        transport.refuse(&console::chain(&e));
        machine.off()
    }
    if let Err(e) = serve(transport, machine) {
        console::warn("the agent has to end", &e);
    }
    machine.off()
}

fn serve(transport: Transport, machine: Machine) -> io::Result<()> {
    let listener = transport.listen()?;
    let first = transport.announce().unwrap_or_else(|e| {
        // It can still connect.
        console::warn("the host does not wait for the agent", &e);
        None
    });
    let children = child::Children::new()?;
    server::Server::new(listener, first, children, machine, transport)?.run()
}

/// Runs the command behind the first argument and is its init; the exit code.
fn init() -> libc::c_int {
    let mut arguments = std::env::args_os().skip(2);
    let command = arguments.next().unwrap_or_default();
    if let Err(e) = runtime::reaper::split(rustix::termios::isatty(rustix::stdio::stdin())) {
        console::warn("the command could not be forked", &e);
        return 126;
    }
    let error = Command::new(&command).args(arguments).exec();
    console::say(&format!("exec: {}: {error}", command.display()));
    match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    }
}

fn clean_up(group: &str) -> libc::c_int {
    let cleaned = sandbox::enter(sandbox::Kind::Usual)
        .map_err(io::Error::other)
        .and_then(|()| cgroup::clean_up(Path::new(group)));
    match cleaned {
        Ok(()) => 0,
        Err(e) => {
            console::warn("a control group could not be removed", &e);
            1
        }
    }
}

/// What the agent is started as.
enum Mode {
    /// A guest's first process.
    Guest,
    /// In a sandbox on a host, with a socket that is inherited.
    Sandbox(RawFd, sandbox::Kind),
    /// On a machine that is not its own, behind a Unix socket.
    Test(String),
    /// To remove a control group, and nothing else.
    CleanUp(String),
    /// In a container, which another runtime has made.
    Init,
    /// By mistake: a guest's agent switches the machine off in the end.
    Nothing,
}

impl Mode {
    fn of_arguments() -> Self {
        let mut arguments = std::env::args().skip(1);
        match (arguments.next().as_deref(), arguments.next()) {
            (Some("--listen-unix"), Some(path)) => Self::Test(path),
            (Some(INIT), Some(_)) => Self::Init,
            (Some(sandbox::CLEAN_UP), Some(group)) => Self::CleanUp(group),
            (Some(sandbox::ARGUMENT), Some(socket)) => {
                let kind = match arguments.next().as_deref() {
                    Some(sandbox::SHARED_ROOT) => sandbox::Kind::SharedRoot,
                    Some(sandbox::ROOTLESS) => sandbox::Kind::Rootless,
                    _ => sandbox::Kind::Usual,
                };
                let socket = socket.parse();
                socket.map_or(Self::Nothing, |socket| Self::Sandbox(socket, kind))
            }
            _ if std::process::id() == 1 => Self::Guest,
            _ => Self::Nothing,
        }
    }
}
