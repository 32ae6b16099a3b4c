//! `rvm isolation-report`.

use rvm_bench::{Error, Observer, Target, look};
use rvm_engine::root::Root;

use crate::arguments_bench::{IsolationReport, target};
use crate::commands::bench::{INTERRUPTED, driver};
use crate::commands::bench_progress::Progress;
use crate::failure::Failure;

pub fn run(root: &Root, arguments: &IsolationReport) -> Result<u8, Failure> {
    let mut isolations: Vec<Target> = Vec::new();
    for isolation in &arguments.isolation {
        let target = target(*isolation);
        if !isolations.contains(&target) {
            isolations.push(target);
        }
    }
    let mut progress = Progress::start()?;
    let mut done = 0.0;
    let share = 1.0 / isolations.len().max(1) as f64;
    let looked = look(&driver(root)?, &arguments.image, &isolations, |what| {
        if progress.interrupted() {
            return Err(Error::Interrupted);
        }
        progress.step(what, done);
        done += share;
        Ok(())
    });
    let interrupted = progress.interrupted();
    drop(progress);
    if interrupted {
        return Ok(INTERRUPTED);
    }
    let report = looked?;
    match arguments.format.as_str() {
        "json" => println!("{}", serde_json::to_string_pretty(&report)?),
        _ => print!("{}", report.text()),
    }
    Ok(0)
}
