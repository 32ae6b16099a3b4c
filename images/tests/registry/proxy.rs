//! A proxy that knows where the hosts of a test are, and notes who was asked for.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub struct Proxy {
    pub url: String,
    /// Host and port of each tunnel.
    pub tunnels: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// `hosts` are what is asked for and where that is, each with its port.
    pub fn start(hosts: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let pairs = hosts.iter().map(|(a, b)| (a.to_string(), b.to_string()));
        let hosts: Arc<HashMap<String, String>> = Arc::new(pairs.collect());
        let tunnels = Arc::new(Mutex::new(Vec::new()));
        let seen = tunnels.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (hosts, seen) = (hosts.clone(), seen.clone());
                std::thread::spawn(move || drop(serve(stream, &hosts, &seen)));
            }
        });
        Self { url, tunnels }
    }

    pub fn tunnels(&self) -> Vec<String> {
        self.tunnels.lock().unwrap().clone()
    }
}

fn serve(
    mut client: TcpStream,
    hosts: &HashMap<String, String>,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let host = request.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.lock().unwrap().push(host.clone());
    let Some(place) = hosts.get(&host).filter(|_| request.starts_with("CONNECT ")) else {
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    };
    let server = TcpStream::connect(place)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Write)
    });
    std::io::copy(&mut &server, &mut client)?;
    client.shutdown(Shutdown::Both)
}
