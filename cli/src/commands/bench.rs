//! `rvm bench`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rvm_bench::{Driver, Observer, Plan, Report, compare, measure, page, text};
use rvm_engine::microvm::workload_program;
use rvm_engine::root::Root;

use crate::arguments_bench::{Bench, BenchCommand, Compare, Measure};
use crate::commands::bench_progress::Progress;
use crate::failure::Failure;

/// Ended by the terminal's interrupt, as a shell says it.
pub const INTERRUPTED: u8 = 130;

pub fn run(root: &Root, arguments: Bench) -> Result<u8, Failure> {
    match arguments.command {
        Some(BenchCommand::Compare(files)) => compare_files(&files),
        None => bench(root, &arguments.measure),
    }
}

/// This very program, its root folder and the program for inside.
pub fn driver(root: &Root) -> Result<Driver, Failure> {
    Ok(Driver {
        rvm: std::env::current_exe()?,
        root: root.path().to_owned(),
        workload: workload_program()?,
    })
}

fn bench(root: &Root, arguments: &Measure) -> Result<u8, Failure> {
    let plan = Plan {
        image: arguments.image.clone(),
        targets: arguments.targets(),
        metrics: arguments.metrics(),
        command: arguments.command.clone(),
        rounds: usize::try_from(arguments.rounds).unwrap_or(usize::MAX),
        time_limit: arguments.limit(),
    };
    let files: Vec<&Path> = [&arguments.json, &arguments.html]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    for file in &files {
        can_write(file)?;
    }
    let ended = measured(root, arguments, &plan);
    if !matches!(ended, Ok(0)) {
        files.iter().for_each(|file| remove_empty(file));
    }
    ended
}

fn measured(root: &Root, arguments: &Measure, plan: &Plan) -> Result<u8, Failure> {
    let mut progress = Progress::start()?;
    let measured = measure(&driver(root)?, plan, &mut progress);
    // The terminal interrupts what is run as well, so that the error may be that of any command.
    let interrupted = progress.interrupted();
    drop(progress);
    if interrupted {
        return Ok(INTERRUPTED);
    }
    let report = measured?;
    print!("{}", text(&report));
    if let Some(file) = &arguments.json {
        let json = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(file, json).map_err(|error| cannot("write", file, &error))?;
    }
    if let Some(file) = &arguments.html {
        fs::write(file, page(&report)).map_err(|error| cannot("write", file, &error))?;
    }
    Ok(0)
}

/// Finds out before minutes of work are lost; an earlier report stays until there is another one.
fn can_write(file: &Path) -> Result<(), Failure> {
    let opened = File::options().append(true).create(true).open(file);
    opened
        .map(drop)
        .map_err(|error| cannot("write", file, &error))
}

/// Takes back what [`can_write`] has made.
fn remove_empty(file: &Path) {
    let is_empty_file = |data: fs::Metadata| data.is_file() && data.len() == 0;
    if fs::metadata(file).is_ok_and(is_empty_file) {
        // A file that stays is empty, and does no harm.
        let _ = fs::remove_file(file);
    }
}

fn compare_files(files: &Compare) -> Result<u8, Failure> {
    let comparison = compare(&read(&files.before)?, &read(&files.after)?);
    print!("{}", comparison.text());
    Ok(comparison.is_worse().into())
}

fn read(file: &Path) -> Result<Report, Failure> {
    let text = fs::read_to_string(file).map_err(|error| cannot("read", file, &error))?;
    serde_json::from_str(&text).map_err(|error| {
        let file = file.display();
        Failure::new(
            2,
            format!("{file} is not what 'rvm bench --json' writes: {error}"),
        )
    })
}

fn cannot(what: &str, file: &Path, error: &std::io::Error) -> Failure {
    // Not 1, which says that something has become worse.
    Failure::new(2, format!("cannot {what} {}: {error}", file.display()))
}
