//! The guest's PID 1: becomes ready, then serves the host.
//!
//! It is started by the kernel in an initramfs that holds nothing else. Every system call here is paid at every cold start,
//! so the host is told as soon as it can connect; file systems, network and the rest follow when they are asked for.
//! Rust's own start-up is left out with `no_main`: it would make a dozen calls, and have every container ignore SIGPIPE.

#![cfg_attr(not(test), no_main)]

mod cgroup;
mod child;
mod connection;
mod console;
mod container;
mod device_rules;
mod guest;
mod inside;
mod network;
mod poll;
mod rootfs;
mod runtime;
mod server;
mod shutdown;
mod spec;
mod stdio;
mod stream;
mod transport;
mod user;

use std::io;

use shutdown::Power;
use transport::Transport;

/// Called by the C start-up code.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, allow(dead_code))]
pub extern "C" fn main(_count: libc::c_int, _arguments: *const *const libc::c_char) -> libc::c_int {
    let (transport, power) = match test_socket() {
        Some(path) => (Transport::Unix(path.into()), Power::Exit),
        None => (Transport::Vsock, Power::Register),
    };
    shutdown::power_off_on_panic(power);
    if let Err(e) = serve(&transport, power) {
        console::warn("the agent has to end", &e);
    }
    power.off()
}

fn serve(transport: &Transport, power: Power) -> io::Result<()> {
    let listener = transport.listen()?;
    let first = transport.announce().unwrap_or_else(|e| {
        // It can still connect.
        console::warn("the host does not wait for the agent", &e);
        None
    });
    server::Server::new(listener, first, child::Children::new()?, power)?.run()
}

/// The argument that puts the agent behind a Unix socket, on a machine that is not its own.
fn test_socket() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    arguments.find(|argument| argument == "--listen-unix")?;
    arguments.next()
}
