//! `rvm system enable-boot` and `disable-boot`, and what the unit runs.

use rvm_engine::Engine;
use rvm_engine::lifecycle::{disable_boot, enable_boot};
use rvm_engine::root::Root;

use crate::arguments_lifecycle::Boot;
use crate::failure::Failure;

pub fn enable(root: &Root) -> Result<u8, Failure> {
    println!("{}", enable_boot(root)?.display());
    Ok(0)
}

pub fn disable(root: &Root) -> Result<u8, Failure> {
    if disable_boot(root)? {
        Ok(0)
    } else {
        Err(Failure::new(1, "there is no unit to remove"))
    }
}

pub fn run(engine: &Engine, command: &Boot) -> Result<u8, Failure> {
    let failed: Vec<_> = if command.stop {
        let failed = engine.stop_before_shutdown()?.into_iter();
        failed
            .map(|(container, error)| (container, Failure::from(error)))
            .collect()
    } else {
        let failed = engine.start_after_boot()?.into_iter();
        failed
            .map(|(container, error)| (container, Failure::from(error)))
            .collect()
    };
    for (container, failure) in &failed {
        eprintln!("rvm: {}: {failure}", container.name);
    }
    Ok((!failed.is_empty()).into())
}
