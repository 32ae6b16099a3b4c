//! What the first process of a prepared container is told about itself: JSON behind its length, on the pipe on which it waits.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rvm_agent_protocol::CreateOptions;
use serde::{Deserialize, Serialize};

use crate::spec::Process;

/// Who a process is, as the agent tells it.
#[derive(Serialize)]
pub struct Identity<'a> {
    /// The process, with its user's numbers.
    pub process: &'a Process,
    /// Whether its standard input is more than /dev/null.
    pub stdin: bool,
    /// What the specification has no place for.
    pub options: &'a CreateOptions,
}

/// Who a process is, as it hears it.
#[derive(Deserialize)]
pub struct Told {
    pub process: Process,
    pub stdin: bool,
    pub options: CreateOptions,
}

impl Identity<'_> {
    /// Writes it to the pipe.
    pub fn send(&self, pipe: &OwnedFd) -> io::Result<()> {
        let mut message = vec![0; size_of::<u32>()];
        serde_json::to_writer(&mut message, self)?;
        let length = (message.len() - size_of::<u32>()) as u32;
        message[..size_of::<u32>()].copy_from_slice(&length.to_ne_bytes());
        File::from(pipe.try_clone()?).write_all(&message)
    }
}

impl Told {
    /// Waits for it on the pipe.
    pub fn receive(pipe: &OwnedFd) -> io::Result<Self> {
        let mut pipe = File::from(pipe.try_clone()?);
        let mut length = [0; size_of::<u32>()];
        pipe.read_exact(&mut length)?;
        let mut json = vec![0; u32::from_ne_bytes(length) as usize];
        pipe.read_exact(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}
