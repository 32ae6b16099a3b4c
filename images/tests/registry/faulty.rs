//! A registry that serves one image from a layout, and does what it should not.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rvm_images::Digest;

/// What it does to requests for layers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// Sends half of what is left and hangs up; understands ranges.
    Cuts,
    /// Hangs up in the middle once, and always sends all from the start.
    IgnoresRange,
    /// Another byte in the middle.
    WrongBytes,
    /// One byte more than the descriptor says.
    TooLong,
    /// Tokens work for two requests.
    ExpiredTokens,
    /// Leads to another host, which must not see the token.
    Redirects,
    /// 503 twice before each answer.
    Busy,
    /// Waits for the rest of a request when somebody tries TLS.
    Mute,
}

#[derive(Debug, Default)]
pub struct Seen {
    /// Requests for each blob.
    pub blobs: HashMap<String, usize>,
    /// First bytes that ranges asked for.
    pub ranges: Vec<u64>,
    pub tokens: usize,
    /// Authorizations that came to the host that was redirected to.
    pub leaked: Vec<String>,
    uses: usize,
    refusals: usize,
}

pub struct Faulty {
    pub host: String,
    pub seen: Arc<Mutex<Seen>>,
}

#[derive(Clone)]
struct Server {
    blobs: PathBuf,
    manifest: Digest,
    fault: Fault,
    seen: Arc<Mutex<Seen>>,
    host: String,
    elsewhere: String,
}

impl Faulty {
    /// Serves `manifest` of a layout under every name.
    pub fn start(layout: &Path, manifest: Digest, fault: Fault) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (own, other) = (listen(), listen());
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let server = Server {
            blobs: layout.join("blobs/sha256"),
            manifest,
            fault,
            seen: Arc::default(),
            host: address(&own),
            elsewhere: address(&other),
        };
        let (host, seen) = (server.host.clone(), server.seen.clone());
        for (listener, is_own) in [(own, true), (other, false)] {
            let server = server.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let server = server.clone();
                    std::thread::spawn(move || drop(server.serve(stream, is_own)));
                }
            });
        }
        Self { host, seen }
    }
}

impl Server {
    /// One request a connection.
    fn serve(&self, mut stream: TcpStream, is_own: bool) -> std::io::Result<()> {
        let mut first = [0];
        if self.fault == Fault::Mute && stream.peek(&mut first)? == 1 && first == [0x16] {
            return std::io::copy(&mut stream, &mut std::io::sink()).map(drop);
        }
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        let Some(path) = request
            .split(' ')
            .nth(1)
            .filter(|_| request.starts_with("GET "))
        else {
            return Ok(());
        };
        let mut headers = HashMap::new();
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let authorization = headers.get("authorization").cloned();
        let mut seen = self.seen.lock().unwrap();
        if !is_own {
            seen.leaked.extend(authorization);
            drop(seen);
            return self.blob(&mut stream, path, 0);
        }
        if path.starts_with("/token") {
            seen.tokens += 1;
            seen.uses = 0;
            let json = format!("{{\"token\":\"token-{}\"}}", seen.tokens);
            return answer(&mut stream, "200 OK", "", json.as_bytes());
        }
        let wants_token = matches!(self.fault, Fault::ExpiredTokens | Fault::Redirects);
        if wants_token {
            seen.uses += 1;
            let expired = self.fault == Fault::ExpiredTokens && seen.uses > 2;
            if authorization != Some(format!("Bearer token-{}", seen.tokens)) || expired {
                let challenge = format!(
                    "WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"test\"\r\n",
                    self.host
                );
                return answer(&mut stream, "401 Unauthorized", &challenge, b"");
            }
        }
        if self.fault == Fault::Busy {
            seen.refusals += 1;
            if !seen.refusals.is_multiple_of(3) {
                return answer(
                    &mut stream,
                    "503 Service Unavailable",
                    "Retry-After: 0\r\n",
                    b"",
                );
            }
        }
        if path.contains("/manifests/") {
            let bytes = std::fs::read(self.blobs.join(self.manifest.hex()))?;
            return answer(
                &mut stream,
                "200 OK",
                "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n",
                &bytes,
            );
        }
        *seen.blobs.entry(path.to_owned()).or_default() += 1;
        let from = headers.get("range").and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        });
        seen.ranges.extend(from);
        drop(seen);
        if self.fault == Fault::Redirects {
            let location = format!("Location: http://{}{path}\r\n", self.elsewhere);
            return answer(&mut stream, "307 Temporary Redirect", &location, b"");
        }
        self.blob(&mut stream, path, from.unwrap_or(0))
    }

    fn blob(&self, stream: &mut TcpStream, path: &str, from: u64) -> std::io::Result<()> {
        let hex = path.rsplit("sha256:").next().unwrap_or_default();
        let mut bytes = std::fs::read(self.blobs.join(hex))?;
        let is_layer = !bytes.starts_with(b"{");
        let whole = bytes.len();
        match self.fault {
            Fault::WrongBytes if is_layer => bytes[whole / 2] ^= 1,
            Fault::TooLong if is_layer => bytes.push(0),
            _ => {}
        }
        let part = &bytes[from as usize..];
        let range = format!("Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1);
        let (status, range) = match from {
            0 => ("200 OK", ""),
            _ => ("206 Partial Content", &*range),
        };
        match self.fault {
            Fault::Cuts if is_layer && part.len() > 100_000 => {
                head(stream, status, range, part.len())?;
                stream.write_all(&part[..part.len() / 2])
            }
            Fault::IgnoresRange if is_layer => {
                head(stream, "200 OK", "", whole)?;
                let most = if from > 0 { whole } else { whole / 2 };
                stream.write_all(&bytes[..most])
            }
            _ => answer(stream, status, range, part),
        }
    }
}

fn head(stream: &mut TcpStream, status: &str, headers: &str, length: usize) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    )
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    head(stream, status, headers, body.len())?;
    stream.write_all(body)
}
