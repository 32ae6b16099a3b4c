//! A server that gives what a test says for each path.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Headers, each with its line's end, and the body.
pub type Answer = (String, Vec<u8>);

pub struct Fixed {
    pub host: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Fixed {
    /// `answer` is asked with the path of each GET; what it has nothing for is not found.
    pub fn start(answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), requests.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (answer, seen) = (answer.clone(), seen.clone());
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone()?).lines();
                    let request = lines.next().transpose()?.unwrap_or_default();
                    for line in lines {
                        if line?.is_empty() {
                            break;
                        }
                    }
                    let path = request.split(' ').nth(1).unwrap_or_default();
                    seen.lock().unwrap().push(path.to_owned());
                    let (status, (headers, body)) = match answer(path) {
                        Some(answer) => ("200 OK", answer),
                        None => ("404 Not Found", Answer::default()),
                    };
                    let length = body.len();
                    write!(
                        stream,
                        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
                    )?;
                    stream.write_all(&body)
                });
            }
        });
        Self { host, requests }
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// What a registry answers that has the blobs of a layout, with `tag` as the only tag of every repository.
pub fn of_layout(layout: &Path, tag: &serde_json::Value, path: &str) -> Option<Answer> {
    let name = path.rsplit('/').next()?;
    let digest = match name.strip_prefix("sha256:") {
        Some(hex) => hex,
        None if path.contains("/manifests/") => tag["digest"].as_str()?.strip_prefix("sha256:")?,
        None => return None,
    };
    let bytes = std::fs::read(layout.join("blobs/sha256").join(digest)).ok()?;
    let json = serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_default();
    let kind = json["mediaType"]
        .as_str()
        .unwrap_or("application/octet-stream");
    Some((format!("Content-Type: {kind}\r\n"), bytes))
}
