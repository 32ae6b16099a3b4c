//! `rvm image inspect` and `rvm history`.

use jiff::Timestamp;
use rvm_engine::image::Images;
use rvm_engine::image_inspect::Made;
use rvm_engine::root::Root;
use serde_json::{Value, json};

use crate::arguments_image::{History, Inspect};
use crate::failure::Failure;
use crate::listing::{Field, Format};
use crate::table;

/// Docker's width of the column CREATED BY.
const COMMAND_WIDTH: usize = 45;

const FIELDS: [Field; 6] = [
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

pub fn run(root: &Root, command: &Inspect) -> Result<u8, Failure> {
    crate::commands::inspect::images(root, &command.images, command.format.as_deref())
}

pub fn history(root: &Root, command: &History) -> Result<u8, Failure> {
    let format = Format::parse(&command.format)?;
    let steps = Images::open(root)?.history(&command.image)?;
    let rows: Vec<Value> = steps.iter().map(|step| fields(step, command)).collect();
    if command.quiet && matches!(format, Format::Table) {
        for row in &rows {
            println!("{}", row["ID"].as_str().unwrap_or_default());
        }
        return Ok(0);
    }
    let created = if command.human {
        "CreatedSince"
    } else {
        "CreatedAt"
    };
    let columns = ["ID", created, "CreatedBy", "Size", "Comment"];
    format.print(&FIELDS, &columns, &rows)?;
    Ok(0)
}

/// What a template finds in a step.
fn fields(step: &Made, command: &History) -> Value {
    let time: Option<Timestamp> = step.created.as_ref().and_then(|time| time.parse().ok());
    let by = step.by.replace(char::is_control, " ");
    let created_at = time.map(|time| time.to_string());
    json!({
        "ID": match step.id {
            Some(id) if command.no_trunc => id.to_string(),
            Some(id) => id.short(),
            None => "<missing>".to_owned(),
        },
        "CreatedSince": match (time, command.human) {
            (None, _) => "N/A".to_owned(),
            (Some(time), true) => format!("{} ago", table::since(time)),
            (Some(time), false) => time.to_string(),
        },
        "CreatedAt": created_at.unwrap_or_else(|| "N/A".to_owned()),
        "CreatedBy": if command.no_trunc { by } else { table::cut(&by, COMMAND_WIDTH) },
        "Size": if command.human { table::size(step.size) } else { step.size.to_string() },
        "Comment": step.comment.replace(char::is_control, " "),
    })
}
