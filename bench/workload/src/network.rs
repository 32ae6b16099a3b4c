//! The far end of the network's workloads: what comes is sent back, or counted.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use rvm_workload::{BLOCK, ECHO, MESSAGE, SINK};

/// Serves one client after the other, beside everything else, until the program ends.
pub fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that goes away has what it came for.
            let _ = answer(client);
        }
    });
}

fn answer(mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut kind = [0];
    client.read_exact(&mut kind)?;
    match kind {
        [ECHO] => {
            let mut message = [0; MESSAGE];
            loop {
                client.read_exact(&mut message)?;
                client.write_all(&message)?;
            }
        }
        [SINK] => {
            let mut block = vec![0; BLOCK];
            loop {
                client.read_exact(&mut block)?;
                client.write_all(&[SINK])?;
            }
        }
        _ => Ok(()),
    }
}
