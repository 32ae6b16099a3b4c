//! The near end of the network's workloads: a client on the host, and the published port of an instance.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rvm_workload::{BLOCK, ECHO, MESSAGE, SINK};

/// An answer that takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages before the first that counts.
const WARM_UP: usize = 3;

/// Messages that are sent in any case.
const LEAST: usize = 5;

/// Blocks that are under way.
const WINDOW: usize = 4;

/// The median time in seconds that a message takes there and back.
pub fn latency(address: SocketAddr, budget: Duration) -> io::Result<f64> {
    let mut stream = connect(address, ECHO)?;
    let mut message = [7; MESSAGE];
    let mut times = Vec::new();
    for _ in 0..WARM_UP {
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
    }
    let end = Instant::now() + budget;
    while times.len() < LEAST || Instant::now() < end {
        let begin = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        times.push(begin.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Bytes per second that arrive.
pub fn throughput(address: SocketAddr, budget: Duration) -> io::Result<f64> {
    let mut stream = connect(address, SINK)?;
    let block = vec![7; BLOCK];
    let mut acknowledged = [0];
    for _ in 0..WINDOW {
        stream.write_all(&block)?;
    }
    stream.read_exact(&mut acknowledged)?;
    let begin = Instant::now();
    let mut arrived = 0;
    while begin.elapsed() < budget || arrived < WINDOW {
        stream.write_all(&block)?;
        stream.read_exact(&mut acknowledged)?;
        arrived += 1;
    }
    Ok((arrived * BLOCK) as f64 / begin.elapsed().as_secs_f64())
}

fn connect(address: SocketAddr, kind: u8) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.write_all(&[kind])?;
    Ok(stream)
}
