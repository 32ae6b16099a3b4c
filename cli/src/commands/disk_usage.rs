//! `rvm system df`.

use rvm_engine::Engine;
use rvm_engine::image::{Listed, Reference};
use rvm_engine::listing::Summary;
use rvm_engine::usage::{DiskUsage, ImageUsage};
use serde_json::{Value, json};

use super::{images::list, ps};
use crate::arguments_image::DiskUsage as Arguments;
use crate::failure::Failure;
use crate::listing::{Field, Format};
use crate::table::exact_size;

const FIELDS: [Field; 5] = [
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

const IMAGE_FIELDS: [Field; 8] = [
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];

const CONTAINER_FIELDS: [Field; 8] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
];

pub fn run(engine: &Engine, command: &Arguments) -> Result<u8, Failure> {
    let format = Format::parse(&command.format)?;
    let usage = engine.disk_usage()?;
    if !command.verbose {
        let columns = FIELDS.map(|(field, _)| field);
        format.print(&FIELDS, &columns, &summary(&usage))?;
        return Ok(0);
    }
    let no_trunc = !matches!(format, Format::Table);
    let images: Vec<Value> = usage
        .images
        .images
        .iter()
        .flat_map(|image| image_rows(&usage, image, no_trunc))
        .collect();
    let containers: Vec<Value> = usage
        .containers
        .iter()
        .map(|(container, size)| container_row(&engine.summary(container), *size, no_trunc))
        .collect();
    if no_trunc {
        let all =
            json!({"Images": images, "Containers": containers, "Volumes": [], "BuildCache": []});
        format.print(&[], &[], &[all])?;
        return Ok(0);
    }
    println!("Images space usage:\n");
    format.print(
        &IMAGE_FIELDS,
        &IMAGE_FIELDS.map(|(field, _)| field),
        &images,
    )?;
    println!("\nContainers space usage:\n");
    let columns = CONTAINER_FIELDS.map(|(field, _)| field);
    format.print(&CONTAINER_FIELDS, &columns, &containers)?;
    Ok(0)
}

/// A line for each kind; scripts that count on Docker's find them all.
fn summary(usage: &DiskUsage) -> Vec<Value> {
    let row = |kind: &str, total: usize, active: usize, size: u64, free: u64| {
        let share = (free * 100).checked_div(size);
        let share = share.map_or(String::new(), |share| format!(" ({share}%)"));
        json!({
            "Type": kind, "TotalCount": total.to_string(), "Active": active.to_string(),
            "Size": exact_size(size), "Reclaimable": exact_size(free) + &share,
        })
    };
    vec![
        row(
            "Images",
            usage.images.images.len(),
            usage.active_images(),
            usage.images.total,
            usage.reclaimable_images(),
        ),
        row(
            "Containers",
            usage.containers.len(),
            usage.running_containers(),
            usage.container_bytes(),
            usage.reclaimable_containers(),
        ),
        row("Local Volumes", 0, 0, 0, 0),
        row("Build Cache", 0, 0, 0, 0),
    ]
}

/// An image once for each of its names.
fn image_rows(usage: &DiskUsage, image: &ImageUsage, no_trunc: bool) -> Vec<Value> {
    let row = |reference: Option<&Reference>| {
        let listed = Listed {
            reference: reference.cloned(),
            digest: None,
            image: image.image.clone(),
        };
        let mut row = list::fields(&listed, no_trunc);
        row["Size"] = exact_size(image.size).into();
        row["VirtualSize"] = row["Size"].clone();
        row["SharedSize"] = exact_size(image.shared).into();
        row["UniqueSize"] = exact_size(image.unique).into();
        row["Containers"] = usage.containers_of(&image.image.id).to_string().into();
        row
    };
    if image.references.is_empty() {
        return vec![row(None)];
    }
    image
        .references
        .iter()
        .map(|name| row(Some(name)))
        .collect()
}

fn container_row(summary: &Summary, size: u64, no_trunc: bool) -> Value {
    let mut value = ps::row(summary, no_trunc);
    value["Size"] = exact_size(size).into();
    value
}
