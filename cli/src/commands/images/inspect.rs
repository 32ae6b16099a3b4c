//! `rvm image inspect` and `rvm history`.

use jiff::Timestamp;
use rvm_engine::image::Images;
use rvm_engine::root::Root;
use serde_json::Value;

use crate::arguments_image::{History, Inspect};
use crate::failure::Failure;
use crate::table;
use crate::template::Template;

/// Docker's width of the column CREATED BY.
const COMMAND_WIDTH: usize = 45;

pub fn run(root: &Root, command: &Inspect) -> Result<u8, Failure> {
    let template = match command.format.as_deref() {
        None | Some("json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let images = Images::open(root)?;
    let mut found: Vec<Value> = Vec::new();
    let mut failed = false;
    for image in &command.images {
        match (images.inspect(image), &template) {
            (Ok(image), Some(template)) => println!("{}", template.render(&image)?),
            (Ok(image), None) => found.push(image),
            (Err(error), _) => {
                eprintln!("rvm: {}", Failure::from(error));
                failed = true;
            }
        }
    }
    match command.format.as_deref() {
        None => println!("{}", serde_json::to_string_pretty(&found)?),
        Some("json") => println!("{}", serde_json::to_string(&found)?),
        Some(_) => {}
    }
    Ok(failed.into())
}

pub fn history(root: &Root, command: &History) -> Result<u8, Failure> {
    let steps = Images::open(root)?.history(&command.image)?;
    let id = |step: &rvm_engine::image_inspect::Made| match step.id {
        Some(id) if command.no_trunc => id.to_string(),
        Some(id) => id.short(),
        None => "<missing>".to_owned(),
    };
    if command.quiet {
        steps.iter().for_each(|step| println!("{}", id(step)));
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = steps
        .iter()
        .map(|step| {
            let time: Option<Timestamp> = step.created.as_ref().and_then(|time| time.parse().ok());
            let by = step.by.replace(char::is_control, " ");
            vec![
                id(step),
                time.map_or("N/A".to_owned(), |time| {
                    format!("{} ago", table::since(time))
                }),
                if command.no_trunc {
                    by
                } else {
                    table::cut(&by, COMMAND_WIDTH)
                },
                table::size(step.size),
                step.comment.replace(char::is_control, " "),
            ]
        })
        .collect();
    table::print(
        &["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"],
        &rows,
    );
    Ok(0)
}
