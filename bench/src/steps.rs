//! The measurements themselves, each of one target.

use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::driver::{Driver, Error, shown, time};
use crate::host_processes::at_rest;
use crate::instance::{Container, Instance, Prepared};
use crate::machine::available_memory;
use crate::metric::Metric;
use crate::network;
use crate::rounds::{Plan, Residents};
use crate::target::Target;

/// What each workload may take inside.
const BUDGET: Duration = Duration::from_millis(200);

/// What each of the network's workloads may take.
const NETWORK_BUDGET: Duration = Duration::from_millis(400);

/// A command that has not ended after this is one that stays; and how often that is looked at.
const MOMENT: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(100);

/// Programs that are not there have this exit code.
const NOT_FOUND: i32 = 127;

/// A command that stays, for images whose own one ends at once. As a container's first process it can only be killed.
const STAND_IN: [&str; 4] = ["--stop-signal", "KILL", "--entrypoint", "sleep"];

/// What it is told.
const LONG: &str = "1000000";

/// The least that memory is counted in.
const PAGE: f64 = 4096.0;

type Samples = Vec<(Metric, f64)>;

/// A container in the background.
struct Service {
    container: Container,
    id: String,
}

/// The measurements, and what they need.
pub struct Steps<'a> {
    driver: &'a Driver,
    plan: &'a Plan,
    /// The targets, in the order of this round.
    pub order: Vec<Target>,
    residents: Residents,
    /// After the instances that run in it, so that it is removed after them.
    prepared: Option<Prepared>,
    services: Vec<(Target, Service)>,
    stand_in: bool,
    known_to_stay: bool,
    no_start: bool,
    /// Containers so far, for their names.
    made: usize,
    /// What a reader has to know.
    pub notes: Vec<String>,
}

impl<'a> Steps<'a> {
    /// Nothing is there yet.
    pub fn new(driver: &'a Driver, plan: &'a Plan) -> Self {
        Self {
            driver,
            plan,
            order: plan.targets.clone(),
            residents: Vec::new(),
            prepared: None,
            services: Vec::new(),
            stand_in: false,
            known_to_stay: false,
            no_start: false,
            made: 0,
            notes: Vec::new(),
        }
    }

    /// Another target is first.
    pub fn turn(&mut self) {
        self.order.rotate_left(1);
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn name(&mut self, target: Target) -> String {
        self.made += 1;
        let process = std::process::id();
        format!("rvm-bench-{process}-{}-{}", target.name(), self.made)
    }

    /// Starts the instances that stay: one for work inside, and one that runs the image's own command.
    pub fn prepare(&mut self, target: Target) -> Result<(), Error> {
        let inside =
            |metric: Metric| (metric.work().is_some() || metric.is_network()) && target.has(metric);
        if self.plan.has(inside) {
            let instance = match target {
                Target::Bare => Instance::bare(self.driver)?,
                _ => {
                    let name = self.name(target);
                    let prepared = match self.prepared.take() {
                        Some(prepared) => prepared,
                        None => Prepared::of(self.driver, &self.plan.image)?,
                    };
                    let prepared = self.prepared.insert(prepared);
                    Instance::start(self.driver, prepared, target, name)?
                }
            };
            self.residents.push((target, instance));
        }
        if self
            .plan
            .has(|metric| metric.is_instance() && target.has(metric))
        {
            if target == Target::Vm {
                // The first one boots, and the second one leaves the template from which all that come later go on: one that stays and had memory
                // of its own would share nothing with them.
                for _ in 0..2 {
                    drop(self.run(target)?);
                }
            }
            let service = self.run(target)?;
            self.services.push((target, service));
        }
        Ok(())
    }

    /// `run --rm` of the user's command.
    pub fn command(&mut self, target: Target) -> Result<Samples, Error> {
        let command: Vec<&str> = self.plan.command.iter().map(String::as_str).collect();
        let taken = match (target, &command[..]) {
            (Target::Bare, [program, arguments @ ..]) => {
                time(Command::new(program).args(arguments), &command.join(" "))
            }
            _ => {
                let image = [self.plan.image.as_str()];
                let run = [
                    &["run", "--rm", "--quiet"],
                    target.options(),
                    &image,
                    &command,
                ];
                self.driver.time(&run.concat())
            }
        };
        Ok(vec![(Metric::Command, taken?.as_secs_f64())])
    }

    /// `run --rm` of a command that ends at once.
    pub fn start(&mut self, target: Target) -> Result<Samples, Error> {
        if self.no_start {
            return Ok(Vec::new());
        }
        if target == Target::Bare {
            let taken = time(&mut Command::new("true"), "true")?;
            return Ok(vec![(Metric::Start, taken.as_secs_f64())]);
        }
        let image = self.plan.image.as_str();
        let options = ["--entrypoint", "true", image];
        let run = [&["run", "--rm", "--quiet"], target.options(), &options].concat();
        match self.driver.time(&run) {
            Ok(taken) => Ok(vec![(Metric::Start, taken.as_secs_f64())]),
            Err(Error::Failed {
                code: Some(NOT_FOUND),
                ..
            }) => {
                self.no_start = true;
                self.note(format!(
                    "{image} has no program 'true', so that starts were not measured; give a command of its own with --command"
                ));
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// The memory of an instance, what one more adds to it, and how long that takes to stop.
    pub fn instance(&mut self, target: Target) -> Result<Samples, Error> {
        let first = self.services.iter().find(|(of, _)| *of == target);
        let Some(first) = first.map(|(_, service)| service.id.clone()) else {
            return Ok(Vec::new());
        };
        let alone = at_rest(&[&first]);
        let further = self.run(target)?;
        // At least a page, where nothing can be told from what else happens on the host.
        let more = (at_rest(&[&first, &further.id]) - alone).max(PAGE);
        let stop = self.driver.time(&["stop", &further.container.name])?;
        Ok(vec![
            (Metric::Memory, alone),
            (Metric::FurtherMemory, more),
            (Metric::Density, available_memory() / more),
            (Metric::Stop, stop.as_secs_f64()),
        ])
    }

    /// Starts the image's own command in the background, or one that stays.
    fn run(&mut self, target: Target) -> Result<Service, Error> {
        loop {
            let container = Container::named(self.driver, self.name(target));
            let image = self.plan.image.as_str();
            let name = ["run", "--detach", "--quiet", "--name", &container.name];
            let run = match self.stand_in {
                false => [&name, target.options(), &[image]].concat(),
                true => [&name, target.options(), &STAND_IN, &[image, LONG]].concat(),
            };
            let id = self.driver.text(&run)?;
            if self.known_to_stay || self.stays(&container)? {
                self.known_to_stay = true;
                return Ok(Service { container, id });
            }
            if self.stand_in {
                return Err(Error::Failed {
                    command: shown(&run),
                    reason: "it ended at once".to_owned(),
                    code: None,
                });
            }
            self.stand_in = true;
            self.note(format!(
                "{image}'s own command ends at once, so that memory and stops are those of 'sleep', which is killed to stop it"
            ));
        }
    }

    /// Whether a container still runs after a moment.
    fn stays(&self, container: &Container) -> Result<bool, Error> {
        let state = ["inspect", "--format", "{{.State.Running}}", &container.name];
        let end = Instant::now() + MOMENT;
        while Instant::now() < end {
            if self.driver.text(&state)? != "true" {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
        Ok(true)
    }

    /// Work in the instance that stays.
    pub fn inside(&mut self, target: Target) -> Result<Samples, Error> {
        let works = self.plan.metrics.iter().filter_map(|metric| metric.work());
        let works = works.collect();
        let Some(instance) = resident(&mut self.residents, target) else {
            return Ok(Vec::new());
        };
        let answer = instance.work(BUDGET, works)?;
        for (work, reason) in &answer.failures {
            let (metric, _) = Metric::of_work(*work, 0.0);
            self.note(format!("{}: {}: {reason}", target.title(), metric.title()));
        }
        let figures = answer.figures.into_iter();
        Ok(figures
            .map(|(work, figure)| Metric::of_work(work, figure))
            .collect())
    }

    /// From the host to that instance.
    pub fn network(&mut self, target: Target) -> Result<Samples, Error> {
        let Some(instance) = resident(&mut self.residents, target) else {
            return Ok(Vec::new());
        };
        let failed = |source| Error::Network {
            target: target.name(),
            source,
        };
        let latency = network::latency(instance.address, NETWORK_BUDGET).map_err(failed)?;
        let rate = network::throughput(instance.address, NETWORK_BUDGET).map_err(failed)?;
        Ok(vec![(Metric::Latency, latency), (Metric::Throughput, rate)])
    }

    /// The image's layers, and the template that a microVM of it has started from last.
    pub fn size(&mut self, target: Target) -> Result<Samples, Error> {
        let image = self.plan.image.as_str();
        let size = self
            .driver
            .text(&["image", "inspect", "--format", "{{.Size}}", image])?;
        let mut size = size.parse().unwrap_or_default();
        if target == Target::Vm {
            let list = self.driver.text(&["template", "ls", "--format", "json"])?;
            // The last used comes first.
            let mut templates = list
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let own = templates.find(|template: &Template| template.image == image);
            size += own.map_or(0.0, |template| bytes(&template.size));
        }
        Ok(vec![(Metric::Size, size)])
    }
}

fn resident(residents: &mut Residents, target: Target) -> Option<&mut Instance> {
    let found = residents.iter_mut().find(|(of, _)| *of == target);
    found.map(|(_, instance)| instance)
}

/// A line of `rvm template ls --format json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Template {
    image: String,
    size: String,
}

/// A size as Docker writes it, such as `19.2MB`.
fn bytes(text: &str) -> f64 {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => 1.0,
    };
    digits.parse::<f64>().unwrap_or_default() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        assert_eq!(bytes("19.2MB"), 19.2e6);
        assert_eq!(bytes("512B"), 512.0);
    }
}
