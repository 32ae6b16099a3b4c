//! `rvm images`.

use jiff::Timestamp;
use rvm_engine::image::{Images, Listed, Reference};
use rvm_engine::root::Root;
use serde_json::{Value, json};

use super::filter::Filter;
use crate::arguments_image;
use crate::failure::Failure;
use crate::listing::{Field, Format};
use crate::table;

const NONE: &str = "<none>";

const FIELDS: [Field; 10] = [
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];

pub fn run(root: &Root, command: &arguments_image::Images) -> Result<u8, Failure> {
    let format = Format::parse(&command.format)?;
    let images = Images::open(root)?;
    let filter = Filter::parse(&command.filter, command.repository.as_deref(), &images)?;
    let mut listed = images.list()?;
    listed.retain(|image| filter.takes(image));
    // The newest first, as in Docker; of one image, its names in order.
    listed.sort_by_key(|image| (std::cmp::Reverse(created(image)), image.reference.clone()));
    if command.quiet && matches!(format, Format::Table) {
        for image in &listed {
            println!("{}", id(image, command.no_trunc));
        }
        return Ok(0);
    }
    let columns: &[&str] = if command.digests {
        &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"]
    } else {
        &["Repository", "Tag", "ID", "CreatedSince", "Size"]
    };
    let rows: Vec<Value> = listed
        .iter()
        .map(|image| fields(image, command.no_trunc))
        .collect();
    format.print(&FIELDS, columns, &rows)?;
    Ok(0)
}

/// What a template finds in an image.
pub fn fields(image: &Listed, no_trunc: bool) -> Value {
    let reference = image.reference.as_ref();
    let created = created(image);
    let size = table::size(image.image.blob_size());
    json!({
        "Repository": reference.map_or(NONE.to_owned(), Reference::familiar_name),
        "Tag": reference.and_then(Reference::tag).unwrap_or(NONE),
        "Digest": image.digest.map_or(NONE.to_owned(), |digest| digest.to_string()),
        "ID": id(image, no_trunc),
        "CreatedSince": created.map_or("N/A".to_owned(), |time| format!("{} ago", table::since(time))),
        "CreatedAt": created.map_or("N/A".to_owned(), table::moment),
        "Size": size,
        "VirtualSize": size,
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "Containers": "N/A",
    })
}

fn id(image: &Listed, no_trunc: bool) -> String {
    if no_trunc {
        image.image.id.to_string()
    } else {
        image.image.id.short()
    }
}

/// When an image was made, if it says so.
pub fn created(image: &Listed) -> Option<Timestamp> {
    image.image.config.created().as_ref()?.parse().ok()
}
