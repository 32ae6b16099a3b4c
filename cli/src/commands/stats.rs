//! `rvm stats`.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use rvm_engine::Engine;
use rvm_engine::container::Container;
use rvm_engine::id::ContainerId;
use rvm_engine::root::Root;
use rvm_engine::stats::Sample;
use serde_json::{Value, json};

use crate::arguments_show::Stats;
use crate::failure::Failure;
use crate::listing::{Field, Format};
use crate::table::{binary_size, size};

/// How often containers are measured.
const PERIOD: Duration = Duration::from_secs(1);

const FIELDS: [Field; 11] = [
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
    // What Docker has not: the guest's memory as the host sees it, and what the virtual machine itself costs.
    ("GuestMem", "GUEST MEM"),
    ("VMOverhead", "VM OVERHEAD"),
];

const COLUMNS: [&str; 10] = [
    "ID",
    "Name",
    "CPUPerc",
    "MemUsage",
    "MemPerc",
    "NetIO",
    "BlockIO",
    "PIDs",
    "GuestMem",
    "VMOverhead",
];

/// The cursor to the upper left corner.
const HOME: &str = "\x1b[H";
/// The rest of the line, and of the screen, to blanks.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

pub fn run(engine: &Engine, command: &Stats) -> Result<u8, Failure> {
    let format = Format::parse(&command.format)?;
    for name in &command.containers {
        engine.find(name)?;
    }
    let mut before = HashMap::new();
    let mut out = std::io::stdout();
    let on_screen = out.is_terminal() && !command.no_stream;
    // The use of processors is told from one moment to another.
    measure(engine.root(), &listed(engine, command)?, &mut before);
    let mut next = Instant::now() + PERIOD;
    loop {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next = Instant::now() + PERIOD;
        let containers = listed(engine, command)?;
        let previous = before.clone();
        measure(engine.root(), &containers, &mut before);
        let rows: Vec<Value> = containers
            .iter()
            .map(|container| {
                let id = &container.id;
                row(container, previous.get(id), before.get(id), command)
            })
            .collect();
        let text = format.render(&FIELDS, &COLUMNS, &rows)?;
        let text = match on_screen {
            true => {
                let lines = text.replace('\n', &format!("{CLEAR_LINE}\n"));
                format!("{HOME}{lines}{CLEAR_REST}")
            }
            false => text,
        };
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(0),
            result => result?,
        }
        if command.no_stream {
            return Ok(0);
        }
    }
}

/// The containers that were named, or those that run now: others may come and go while it is looked at them.
fn listed(engine: &Engine, command: &Stats) -> Result<Vec<Container>, Failure> {
    if command.containers.is_empty() {
        return Ok(engine.list(command.all)?);
    }
    let found = command.containers.iter();
    Ok(found
        .map(|name| engine.find(name))
        .filter(|found| !found.as_ref().is_err_and(|error| error.is_not_found()))
        .collect::<Result<_, _>>()?)
}

/// Measures all containers at once, because a guest takes its time; what does not answer has no sample.
fn measure(root: &Root, containers: &[Container], samples: &mut HashMap<ContainerId, Sample>) {
    samples.clear();
    std::thread::scope(|scope| {
        let running = containers.iter().filter(|one| one.state.is_active());
        let threads: Vec<_> = running
            .map(|container| {
                scope.spawn(move || {
                    let engine = Engine::open(root.clone()).ok()?;
                    match engine.sample(container) {
                        Ok(sample) => Some((container.id.clone(), sample)),
                        Err(error) => {
                            tracing::debug!(%error, "the container could not be measured");
                            None
                        }
                    }
                })
            })
            .collect();
        let measured = threads.into_iter().filter_map(|thread| thread.join().ok()?);
        samples.extend(measured);
    });
}

fn row(
    container: &Container,
    before: Option<&Sample>,
    now: Option<&Sample>,
    command: &Stats,
) -> Value {
    let id = match command.no_trunc {
        true => container.id.to_string(),
        false => container.id.short().to_owned(),
    };
    let mut row = json!({
        "BlockIO": "0B / 0B",
        "CPUPerc": "0.00%",
        "Container": id,
        "GuestMem": "0B",
        "ID": id,
        "MemPerc": "0.00%",
        "MemUsage": "0B / 0B",
        "Name": container.name.as_str(),
        "NetIO": "0B / 0B",
        "PIDs": "0",
        "VMOverhead": "0B",
    });
    let Some(now) = now else {
        if container.state.is_active() {
            for field in ["BlockIO", "CPUPerc", "MemPerc", "MemUsage", "NetIO", "PIDs"] {
                row[field] = "--".into();
            }
        }
        return row;
    };
    let cpu = before.map_or(0.0, |before| now.cpu_percent(before));
    let pair = |(a, b): (u64, u64)| format!("{} / {}", size(a), size(b));
    row["BlockIO"] = pair(now.block).into();
    row["CPUPerc"] = format!("{cpu:.2}%").into();
    row["MemPerc"] = format!("{:.2}%", now.memory_percent()).into();
    row["MemUsage"] = format!(
        "{} / {}",
        binary_size(now.memory),
        binary_size(now.memory_limit)
    )
    .into();
    row["NetIO"] = pair(now.network).into();
    row["PIDs"] = now.pids.to_string().into();
    row["GuestMem"] = binary_size(now.host.guest).into();
    row["VMOverhead"] = binary_size(now.host.overhead).into();
    row
}
