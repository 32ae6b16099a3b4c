//! Downloading one blob: on from where the last try broke off, of this process or of one before it.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};
use ureq::Body;
use ureq::http::Response;

use super::client::Client;
use super::error::RegistryError;
use super::growing::Growing;
use super::http::{back_off, header};
use crate::digest::Digest;
use crate::progress::{Progress, Step};

const BUFFER: usize = 256 << 10;
/// How often a download may break off without having got further.
const TRIES: u32 = 5;
/// Less than this is not getting further.
const PROGRESS: u64 = 64 << 10;
/// How often at all.
const MAX_TRIES: u32 = 1000;

/// What a blob is known by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// How one try ended.
enum End {
    Whole,
    /// The converter has failed.
    NotWanted,
    Broken(io::Error),
}

/// Appends what is missing of `wanted` to `growing`, and verifies all of it.
///
/// `hasher` has seen the `done` bytes that are there.
pub(super) fn download(
    client: &Client<'_>,
    wanted: Wanted,
    growing: &Growing,
    (mut hasher, mut done): (Sha256, u64),
    progress: &dyn Progress,
) -> Result<(), RegistryError> {
    let Wanted { digest, size } = wanted;
    let mut stuck = 0;
    for _ in 0..MAX_TRIES {
        if done == size {
            break;
        }
        let before = done;
        let response = client.blob(&digest, done)?;
        let (response, skip) = start(client, response, wanted, done)?;
        let mut copy = Copy {
            wanted,
            growing,
            hasher: &mut hasher,
            done: &mut done,
            progress,
        };
        match copy.run(response, skip)? {
            End::NotWanted => return Ok(()),
            End::Whole => break,
            End::Broken(source) => {
                stuck = if done - before >= PROGRESS {
                    0
                } else {
                    stuck + 1
                };
                if stuck == TRIES {
                    return Err(RegistryError::Broken {
                        digest,
                        tries: TRIES,
                        done,
                        total: size,
                        source,
                    });
                }
                tracing::debug!("{digest} broke off at {done} of {size}: {source}");
                std::thread::sleep(back_off(stuck));
            }
        }
    }
    let found = Digest::from_bytes(hasher.finalize().into());
    if done != size {
        return Err(RegistryError::Size {
            digest,
            expected: size,
            found: done,
        });
    }
    if found != digest {
        return Err(RegistryError::Digest {
            expected: digest,
            found,
        });
    }
    Ok(())
}

/// Where in the blob an answer begins: how many of its bytes are known already.
fn start(
    client: &Client<'_>,
    response: Response<Body>,
    wanted: Wanted,
    done: u64,
) -> Result<(Response<Body>, u64), RegistryError> {
    let what = format!("the request for {}", wanted.digest);
    if response.status().as_u16() == 206 {
        let range = header(response.headers(), "content-range").unwrap_or_default();
        let first = range
            .strip_prefix("bytes ")
            .and_then(|range| range.split('-').next()?.parse::<u64>().ok());
        return match first {
            Some(first) if first == done => Ok((response, 0)),
            _ => Err(RegistryError::Answer {
                what,
                why: format!("byte {done} was asked for, `{}` came", range.escape_debug()),
            }),
        };
    }
    // A server without ranges sends all of it once more.
    let response = client.successful(response, &what)?;
    Ok((response, done))
}

struct Copy<'a> {
    wanted: Wanted,
    growing: &'a Growing,
    hasher: &'a mut Sha256,
    done: &'a mut u64,
    progress: &'a dyn Progress,
}

impl Copy<'_> {
    fn run(&mut self, response: Response<Body>, skip: u64) -> Result<End, RegistryError> {
        let Wanted { digest, size } = self.wanted;
        let mut body = response.into_body().into_reader();
        match io::copy(&mut body.by_ref().take(skip), &mut io::sink()) {
            Ok(skipped) if skipped == skip => {}
            Ok(_) => return Ok(End::Broken(io::ErrorKind::UnexpectedEof.into())),
            Err(err) => return Ok(End::Broken(err)),
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) if *self.done == size => return Ok(End::Whole),
                Ok(0) => return Ok(End::Broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => n,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Ok(End::Broken(err)),
            };
            if *self.done + n as u64 > size {
                return Err(RegistryError::Size {
                    digest,
                    expected: size,
                    found: *self.done + n as u64,
                });
            }
            let bytes = &buffer[..n];
            self.hasher.update(bytes);
            let is_wanted = self
                .growing
                .push(bytes)
                .map_err(|err| RegistryError::Write(digest, err))?;
            *self.done += n as u64;
            self.progress.step(
                &digest,
                Step::Moved {
                    done: *self.done,
                    total: size,
                },
            );
            if !is_wanted {
                return Ok(End::NotWanted);
            }
        }
    }
}
