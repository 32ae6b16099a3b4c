//! `rvm ps`.

use rvm_engine::Engine;
use rvm_engine::container::{Container, State};
use rvm_engine::options::port::Publish;
use serde_json::json;

use crate::arguments::Ps;
use crate::failure::Failure;
use crate::table;

const HEADING: [&str; 7] = [
    "CONTAINER ID",
    "IMAGE",
    "COMMAND",
    "CREATED",
    "STATUS",
    "PORTS",
    "NAMES",
];

/// Docker's width of the column COMMAND, quotes not counted.
const COMMAND_WIDTH: usize = 20;

pub fn run(engine: &Engine, command: &Ps) -> Result<u8, Failure> {
    let containers = engine.list(command.all)?;
    if command.quiet {
        for container in &containers {
            println!("{}", id(container, command.no_trunc));
        }
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = containers
        .iter()
        .map(|container| row(container, command.no_trunc))
        .collect();
    if command.format == "json" {
        for (row, container) in rows.iter().zip(&containers) {
            println!("{}", as_json(row, container));
        }
    } else {
        table::print(&HEADING, &rows);
    }
    Ok(0)
}

/// A container in the columns of [`HEADING`].
pub fn row(container: &Container, no_trunc: bool) -> Vec<String> {
    let args = container.settings.args.join(" ");
    let args = if no_trunc {
        args
    } else {
        table::cut(&args, COMMAND_WIDTH)
    };
    vec![
        id(container, no_trunc),
        container.settings.image.clone(),
        format!("\"{args}\""),
        format!("{} ago", table::since(container.created)),
        status(container),
        ports(container),
        container.name.to_string(),
    ]
}

fn id(container: &Container, no_trunc: bool) -> String {
    if no_trunc {
        container.id.to_string()
    } else {
        container.id.short().to_owned()
    }
}

/// A row as `--format json` prints it.
pub fn as_json(row: &[String], container: &Container) -> serde_json::Value {
    json!({
        "ID": row[0], "Image": row[1], "Command": row[2], "CreatedAt": container.created.to_string(), "RunningFor": row[3],
        "State": container.state.shown(), "Status": row[4], "Ports": row[5], "Names": row[6],
    })
}

fn status(container: &Container) -> String {
    match (container.state, container.started, container.finished) {
        (State::Running, Some(started), _) => format!("Up {}", table::since(started)),
        (State::Exited, _, Some(finished)) => {
            format!(
                "Exited ({}) {} ago",
                container.exit_code.unwrap_or(0),
                table::since(finished)
            )
        }
        _ => "Created".to_owned(),
    }
}

/// Published ports, and those that the image exposes without their being published.
fn ports(container: &Container) -> String {
    let endpoint = container
        .endpoint
        .iter()
        .filter(|_| container.state == State::Running);
    let published: Vec<Publish> = endpoint
        .flat_map(|endpoint| endpoint.ports.clone())
        .collect();
    if container.state != State::Running {
        return String::new();
    }
    let is_published = |exposed: &str| {
        published
            .iter()
            .any(|port| format!("{}/{}", port.container_port, port.protocol) == exposed)
    };
    let exposed = container
        .settings
        .exposed
        .iter()
        .filter(|exposed| !is_published(exposed))
        .cloned();
    published
        .iter()
        .map(Publish::to_string)
        .chain(exposed)
        .collect::<Vec<_>>()
        .join(", ")
}
