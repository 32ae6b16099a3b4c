//! `rvm images`.

use jiff::Timestamp;
use rvm_engine::image::{Images, Listed, Reference};
use rvm_engine::root::Root;
use serde_json::json;

use super::filter::Filter;
use crate::arguments_image;
use crate::failure::Failure;
use crate::table;

const NONE: &str = "<none>";

pub fn run(root: &Root, command: &arguments_image::Images) -> Result<u8, Failure> {
    let images = Images::open(root)?;
    let filter = Filter::parse(&command.filter, command.repository.as_deref(), &images)?;
    let mut listed = images.list()?;
    listed.retain(|image| filter.takes(image));
    // The newest first, as in Docker; of one image, its names in order.
    listed.sort_by_key(|image| (std::cmp::Reverse(created(image)), image.reference.clone()));
    if command.quiet {
        let mut ids: Vec<String> = listed.iter().map(|image| id(image, command)).collect();
        ids.dedup();
        ids.iter().for_each(|id| println!("{id}"));
        return Ok(0);
    }
    let mut heading = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    let mut rows: Vec<Vec<String>> = listed.iter().map(|image| row(image, command)).collect();
    if command.format == "json" {
        for (row, image) in rows.iter().zip(&listed) {
            println!("{}", as_json(row, image));
        }
        return Ok(0);
    }
    if command.digests {
        heading.insert(2, "DIGEST");
        for (row, image) in rows.iter_mut().zip(&listed) {
            row.insert(2, digest(image));
        }
    }
    table::print(&heading, &rows);
    Ok(0)
}

fn row(image: &Listed, command: &arguments_image::Images) -> Vec<String> {
    let reference = image.reference.as_ref();
    vec![
        reference.map_or(NONE.to_owned(), Reference::familiar_name),
        reference
            .and_then(Reference::tag)
            .unwrap_or(NONE)
            .to_owned(),
        id(image, command),
        created(image).map_or("N/A".to_owned(), |time| {
            format!("{} ago", table::since(time))
        }),
        table::size(image.image.blob_size()),
    ]
}

fn as_json(row: &[String], image: &Listed) -> serde_json::Value {
    json!({
        "Containers": "N/A", "Repository": row[0], "Tag": row[1], "ID": row[2], "Digest": digest(image),
        "CreatedSince": row[3], "CreatedAt": created(image).map(|time| time.to_string()), "Size": row[4],
    })
}

fn id(image: &Listed, command: &arguments_image::Images) -> String {
    if command.no_trunc {
        image.image.id.to_string()
    } else {
        image.image.id.short()
    }
}

fn digest(image: &Listed) -> String {
    image
        .digest
        .map_or(NONE.to_owned(), |digest| digest.to_string())
}

/// When an image was made, if it says so.
pub fn created(image: &Listed) -> Option<Timestamp> {
    image.image.config.created().as_ref()?.parse().ok()
}
