//! `rvm stop`, `kill`, `rm` and `wait`: what is done with each of several containers.

use std::time::Duration;

use rvm_engine::Engine;
use rvm_engine::lifecycle::STOP_PATIENCE;

use super::each;
use crate::arguments::{Containers, Kill, Rm, Stop};
use crate::failure::Failure;

pub fn stop(engine: &Engine, command: &Stop) -> Result<u8, Failure> {
    let patience = match command.time {
        None => STOP_PATIENCE,
        // As Docker: a negative time waits for ever.
        Some(seconds) => {
            u64::try_from(seconds).map_or(Duration::from_secs(u32::MAX.into()), Duration::from_secs)
        }
    };
    each(engine, &command.containers, |container| {
        Ok(engine.stop(container, patience)?)
    })
}

pub fn kill(engine: &Engine, command: &Kill) -> Result<u8, Failure> {
    each(engine, &command.containers, |container| {
        Ok(engine.signal(container, command.signal)?)
    })
}

pub fn remove(engine: &Engine, command: &Rm) -> Result<u8, Failure> {
    each(engine, &command.containers, |container| {
        Ok(engine.remove(container, command.force)?)
    })
}

pub fn wait(engine: &Engine, command: &Containers) -> Result<u8, Failure> {
    let mut failed = false;
    for reference in &command.containers {
        let waited = engine
            .find(reference)
            .map_err(Failure::from)
            .and_then(|container| Ok(engine.wait(&container)?));
        match waited {
            Ok(exit) => println!("{}", exit.code),
            Err(failure) => {
                eprintln!("rvm: {failure}");
                failed = true;
            }
        }
    }
    Ok(failed.into())
}
