//! A benchmark's course: everything once to warm up, and then in rounds, in which the targets take turns.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::driver::{Driver, Error};
use crate::instance::Instance;
use crate::machine::{self, Machine};
use crate::metric::Metric;
use crate::report::{FORMAT, Figure, Report};
use crate::statistics::METHOD;
use crate::steps::Steps;
use crate::target::Target;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The image.
    pub image: String,
    /// The targets.
    pub targets: Vec<Target>,
    /// The figures.
    pub metrics: Vec<Metric>,
    /// The user's own command.
    pub command: Vec<String>,
    /// No more rounds than these.
    pub rounds: usize,
    /// No round is begun that would end later than this after the beginning.
    pub time_limit: Duration,
}

/// Who watches a benchmark.
pub trait Observer {
    /// Something begins; `done` is the share of the benchmark that is over.
    fn step(&mut self, what: &str, done: f64);

    /// Whether it is to end early.
    fn interrupted(&self) -> bool;
}

/// What it takes to remove everything at the end.
const CLEANING: Duration = Duration::from_secs(10);

/// Takes the measurements of a plan.
pub fn measure(driver: &Driver, plan: &Plan, observer: &mut dyn Observer) -> Result<Report, Error> {
    let begin = Instant::now();
    let begun = jiff::Timestamp::now();
    let mut machine = Machine::look(driver)?;
    let mut course = Course {
        steps: Steps::new(driver, plan),
        plan,
        observer,
        begin,
        samples: BTreeMap::new(),
    };
    course.prepare()?;
    let rounds = course.rounds()?;
    let Course { steps, samples, .. } = course;
    let figures = plan
        .metrics
        .iter()
        .filter_map(|metric| {
            let of = |target: &Target| {
                let samples = samples.get(&(*metric, target.name()));
                (*target, samples.cloned().unwrap_or_default())
            };
            Figure::new(*metric, plan.targets.iter().map(of).collect())
        })
        .collect();
    let notes = steps.notes.clone();
    drop(steps);
    machine.load_after = machine::load();
    Ok(Report {
        format: FORMAT,
        rvm: env!("CARGO_PKG_VERSION").to_owned(),
        image: plan.image.clone(),
        command: plan.command.clone(),
        begun: begun.to_string(),
        seconds: begin.elapsed().as_secs_f64(),
        machine,
        targets: plan.targets.clone(),
        rounds,
        method: METHOD.to_owned(),
        figures,
        notes,
    })
}

impl Plan {
    /// Whether such a figure is asked for.
    pub fn has(&self, test: impl Fn(Metric) -> bool) -> bool {
        self.metrics.iter().any(|metric| test(*metric))
    }
}

struct Course<'a> {
    steps: Steps<'a>,
    plan: &'a Plan,
    observer: &'a mut dyn Observer,
    begin: Instant,
    samples: BTreeMap<(Metric, &'static str), Vec<f64>>,
}

impl Course<'_> {
    fn say(&mut self, what: &str) -> Result<(), Error> {
        if self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let limit = self.plan.time_limit.as_secs_f64().max(1.0);
        let done = (self.begin.elapsed().as_secs_f64() / limit).min(1.0);
        self.observer.step(what, done);
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), Error> {
        for target in &self.plan.targets {
            self.say(&format!("preparing: {}", target.title()))?;
            self.steps.prepare(*target)?;
        }
        self.round("warming up", |_| true)?;
        // The first run of a command makes one template, and the second another.
        self.round("warming up again", |metric| {
            matches!(metric, Metric::Command | Metric::Start)
        })?;
        self.samples.clear();
        Ok(())
    }

    /// How many there were.
    fn rounds(&mut self) -> Result<usize, Error> {
        let mut longest = Duration::ZERO;
        for round in 0..self.plan.rounds {
            let over = self.begin.elapsed() + longest + CLEANING > self.plan.time_limit;
            if over && round > 0 {
                return Ok(round);
            }
            let begin = Instant::now();
            self.round(&format!("round {}", round + 1), |_| true)?;
            self.steps.turn();
            longest = longest.max(begin.elapsed());
        }
        Ok(self.plan.rounds)
    }

    /// Each part with each target, one after the other, so that what the machine does meanwhile meets them all.
    fn round(&mut self, name: &str, chosen: fn(Metric) -> bool) -> Result<(), Error> {
        for part in PARTS {
            for target in self.steps.order.clone() {
                let wanted = |metric| (part.of)(metric) && target.has(metric) && chosen(metric);
                if !self.plan.has(wanted) {
                    continue;
                }
                self.say(&format!("{name}: {}, {}", part.name, target.title()))?;
                for (metric, sample) in (part.act)(&mut self.steps, target)? {
                    if self.plan.metrics.contains(&metric) {
                        let samples = self.samples.entry((metric, target.name()));
                        samples.or_default().push(sample);
                    }
                }
            }
        }
        Ok(())
    }
}

type Samples = Vec<(Metric, f64)>;

/// A part of a round.
struct Part {
    name: &'static str,
    of: fn(Metric) -> bool,
    act: fn(&mut Steps<'_>, Target) -> Result<Samples, Error>,
}

const PARTS: [Part; 6] = [
    Part {
        name: "your command",
        of: |metric| metric == Metric::Command,
        act: |steps, target| steps.command(target),
    },
    Part {
        name: "start",
        of: |metric| metric == Metric::Start,
        act: |steps, target| steps.start(target),
    },
    Part {
        name: "memory and stop",
        of: Metric::is_instance,
        act: |steps, target| steps.instance(target),
    },
    Part {
        name: "work inside",
        of: |metric| metric.work().is_some(),
        act: |steps, target| steps.inside(target),
    },
    Part {
        name: "network",
        of: Metric::is_network,
        act: |steps, target| steps.network(target),
    },
    Part {
        name: "disk",
        of: |metric| metric == Metric::Size,
        act: |steps, target| steps.size(target),
    },
];

/// The instances that stay for the whole of a benchmark.
pub type Residents = Vec<(Target, Instance)>;
