//! `rvm ps`.

use rvm_engine::Engine;
use rvm_engine::container::NetworkMode;
use rvm_engine::listing::{Query, Summary};
use serde_json::{Value, json};

use crate::arguments_show::Ps;
use crate::failure::Failure;
use crate::listing::{Field, Format};
use crate::table;

const FIELDS: [Field; 17] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("Isolation", "ISOLATION"),
    // A method, whose heading is the label's name.
    (".Label", ""),
];

/// The table's columns; with `--size` one more.
const COLUMNS: [&str; 7] = [
    "ID",
    "Image",
    "Command",
    "RunningFor",
    "Status",
    "Ports",
    "Names",
];

/// Docker's width of the column COMMAND, quotes not counted.
const COMMAND_WIDTH: usize = 20;

pub fn run(engine: &Engine, command: &Ps) -> Result<u8, Failure> {
    let format = Format::parse(&command.format)?;
    let last = match command.last {
        _ if command.latest => Some(1),
        // As Docker: nothing and less is no limit.
        number => usize::try_from(number).ok().filter(|number| *number > 0),
    };
    let query = Query {
        all: command.all,
        last,
        filter: engine.container_filter(&command.filter)?,
        sizes: command.size || command.format.contains(".Size"),
    };
    let containers = engine.summaries(&query)?;
    if command.quiet && matches!(format, Format::Table) {
        for summary in &containers {
            println!("{}", id(summary, command.no_trunc));
        }
        return Ok(0);
    }
    let rows: Vec<Value> = containers
        .iter()
        .map(|summary| row(summary, command.no_trunc))
        .collect();
    let mut columns = COLUMNS.to_vec();
    if command.size {
        columns.push("Size");
    }
    format.print(&FIELDS, &columns, &rows)?;
    Ok(0)
}

/// What a template finds in a container.
pub fn row(summary: &Summary, no_trunc: bool) -> Value {
    let container = &summary.container;
    let settings = &container.settings;
    let labels = settings.labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let command = match no_trunc {
        true => summary.command.clone(),
        false => table::cut(&summary.command, COMMAND_WIDTH),
    };
    let size = summary.size.map_or("0B".to_owned(), |size| {
        format!(
            "{} (virtual {})",
            table::size(size.written),
            table::size(size.with_image)
        )
    });
    json!({
        ".Label": settings.labels,
        "Command": quoted(&command),
        "CreatedAt": table::moment(container.created),
        "ID": id(summary, no_trunc),
        "Image": summary.image,
        "Labels": labels.join(","),
        ".Isolation": settings.isolation.as_str(),
        "LocalVolumes": "0",
        "Mounts": "",
        "Names": container.name.as_str(),
        "Networks": match settings.network {
            NetworkMode::None => "none",
            NetworkMode::Bridge => "bridge",
        },
        ".Platform": "linux/amd64",
        "Ports": summary.ports,
        "RunningFor": format!("{} ago", table::since(container.created)),
        "Size": size,
        "State": container.state.shown(),
        "Status": summary.status,
    })
}

fn id(summary: &Summary, no_trunc: bool) -> String {
    let id = &summary.container.id;
    match no_trunc {
        true => id.to_string(),
        false => id.short().to_owned(),
    }
}

/// As Go's `%q` writes a text: what would leave its line or its column is escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_ascii_control() => {
                out.push_str(&format!("\\x{:02x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    #[test]
    fn commands_are_quoted_as_go_quotes() {
        assert_eq!(super::quoted("a \"b\"\n\u{1b}é"), r#""a \"b\"\n\x1bé""#);
    }
}
