//! `rvm checkpoint`.

use rvm_engine::Engine;

use crate::arguments_checkpoint::Checkpoint;
use crate::failure::Failure;

pub fn run(engine: &Engine, command: &Checkpoint) -> Result<u8, Failure> {
    match command {
        Checkpoint::Create(command) => {
            let container = engine.find(&command.container)?;
            engine.checkpoint(&container, &command.checkpoint, command.leave_running)?;
            println!("{}", command.checkpoint);
        }
        Checkpoint::Ls(command) => {
            let container = engine.find(&command.container)?;
            println!("CHECKPOINT NAME");
            for name in engine.checkpoints(&container).list()? {
                println!("{name}");
            }
        }
        Checkpoint::Rm(command) => {
            let container = engine.find(&command.container)?;
            engine.checkpoints(&container).remove(&command.checkpoint)?;
        }
    }
    Ok(0)
}
