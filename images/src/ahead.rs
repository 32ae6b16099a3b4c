//! Reads ahead on a thread of its own: one core inflates while another hashes and writes.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Bytes that are handed over at once.
const CHUNK: usize = 256 << 10;
/// How many of these may lie between the two.
const DEPTH: usize = 4;

/// What was read ahead.
pub(crate) struct Ahead {
    chunks: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
}

/// Lets `work` read what comes from `from`. Returns when both are done: whoever does not read to the end has to
/// see to it that `from` does not wait for ever.
pub(crate) fn ahead<R>(from: impl Read + Send, work: impl FnOnce(&mut Ahead) -> R) -> R {
    thread::scope(|scope| {
        let (sender, chunks) = sync_channel(DEPTH);
        scope.spawn(move || fill(from, &sender));
        let mut reader = Ahead {
            chunks,
            chunk: Vec::new(),
            at: 0,
        };
        work(&mut reader)
    })
}

fn fill(mut from: impl Read, chunks: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let result = from.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
        let is_last = chunk.len() < CHUNK;
        // Nobody takes it when the work has failed.
        let is_taken = chunk.is_empty() || chunks.send(Ok(chunk)).is_ok();
        if let Err(err) = result {
            let _ = chunks.send(Err(err));
            return;
        }
        if is_last || !is_taken {
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            match self.chunks.recv() {
                Ok(chunk) => (self.chunk, self.at) = (chunk?, 0),
                // All has come.
                Err(_) => return Ok(0),
            }
        }
        let n = (&self.chunk[self.at..]).read(buf)?;
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_in_order_and_errors_at_their_place() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 9 * CHUNK + 7] {
            let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut read = Vec::new();
            ahead(&bytes[..], |reader| reader.read_to_end(&mut read)).unwrap();
            assert!(read == bytes, "{length}");

            struct Broken;
            impl Read for Broken {
                fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                    Err(io::Error::other("broken"))
                }
            }
            let mut read = Vec::new();
            let result = ahead((&bytes[..]).chain(Broken), |reader| {
                reader.read_to_end(&mut read)
            });
            assert_eq!(result.unwrap_err().to_string(), "broken");
            assert_eq!(read.len(), length);
        }
    }

    #[test]
    fn who_reads_no_further_is_not_kept() {
        let read = ahead(io::repeat(1), |reader| reader.read(&mut [0; 10]));
        assert_eq!(read.unwrap(), 10);
    }
}
