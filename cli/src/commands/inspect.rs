//! `rvm inspect`.

use rvm_engine::Engine;

use crate::arguments::Containers;
use crate::failure::Failure;

pub fn run(engine: &Engine, command: &Containers) -> Result<u8, Failure> {
    let mut found = Vec::new();
    let mut failed = false;
    for reference in &command.containers {
        match engine.find(reference) {
            Ok(container) => found.push(rvm_engine::inspect::container(&container, engine.root())),
            Err(error) => {
                eprintln!("rvm: {}", Failure::from(error));
                failed = true;
            }
        }
    }
    println!("{}", serde_json::to_string_pretty(&found)?);
    Ok(failed.into())
}
