//! What a process inside sees and reaches in each isolation, found by a program that tries it there.

mod rows;
mod text;

use std::process::Command;

use rvm_workload::Probe;
use serde::Serialize;

use crate::driver::{Driver, Error, finish};
use crate::instance::{Container, Prepared};
use crate::target::Target;

pub use rows::Row;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct IsolationReport {
    /// The image whose container it was found in.
    pub image: String,
    /// The isolations, in the order of each row's cells.
    pub isolations: Vec<Target>,
    /// The findings, for people.
    pub rows: Vec<Row>,
    /// All that the program found, in the same order.
    pub probes: Vec<Probe>,
}

/// Looks around in each isolation. `say` is told what is being done; a reason to end early ends it.
pub fn look(
    driver: &Driver,
    image: &str,
    isolations: &[Target],
    mut say: impl FnMut(&str) -> Result<(), Error>,
) -> Result<IsolationReport, Error> {
    let mut command = Command::new(&driver.workload);
    let host = read(command.arg("probe"), "rvm-workload probe")?;
    let prepared = Prepared::of(driver, image)?;
    // A network is root's.
    let options: &[&str] = match rustix::process::geteuid().is_root() {
        true => &[],
        false => &["--network", "none"],
    };
    let mut probes = Vec::new();
    for isolation in isolations {
        say(&format!("looking around in a {}", isolation.title()))?;
        let name = format!("rvm-isolation-{}-{}", std::process::id(), isolation.name());
        let container = Container::named(driver, name);
        let mut command = prepared.run(*isolation, &container.name, options, &["probe"]);
        probes.push(read(&mut command, "rvm run rvm-workload probe")?);
    }
    Ok(IsolationReport {
        image: image.to_owned(),
        isolations: isolations.to_vec(),
        rows: rows::of(&probes, &host),
        probes,
    })
}

fn read(command: &mut Command, shown: &str) -> Result<Probe, Error> {
    let output = finish(command, shown)?;
    serde_json::from_slice(&output.stdout).map_err(|source| Error::Answer {
        command: shown.to_owned(),
        source,
    })
}

impl IsolationReport {
    /// As a table, and in a sentence what it comes to.
    pub fn text(&self) -> String {
        let titles = self.isolations.iter().map(|isolation| isolation.title());
        text::table(titles, &self.rows)
    }
}
