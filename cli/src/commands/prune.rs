//! `rvm image prune`, `rvm container prune` and `rvm system prune`.

use jiff::Timestamp;
use rvm_engine::Engine;
use rvm_engine::prune::{Prune, PruneFilter, Pruned, PrunedContainers};

use crate::arguments_image::{ImagePrune, SystemPrune};
use crate::arguments_lifecycle::ContainerPrune;
use crate::confirm::confirm;
use crate::failure::Failure;
use crate::table;

const ALL_IMAGES: &str = "all images without at least one container associated to them";
const DANGLING_IMAGES: &str = "all dangling images";

pub fn images(engine: &Engine, command: &ImagePrune) -> Result<u8, Failure> {
    let filter = PruneFilter::parse(&command.filter, Timestamp::now())?;
    let (which, what) = which(command.all);
    if !command.force && !confirm(&format!("This will remove {what}."))? {
        return Ok(0);
    }
    let pruned = engine.prune_images(which, &filter)?;
    say_images(&pruned);
    say_total(pruned.reclaimed);
    Ok(0)
}

pub fn containers(engine: &Engine, command: &ContainerPrune) -> Result<u8, Failure> {
    let filter = PruneFilter::parse(&command.filter, Timestamp::now())?;
    if !command.force && !confirm("This will remove all stopped containers.")? {
        return Ok(0);
    }
    let pruned = engine.prune_containers(&filter)?;
    say_containers(&pruned);
    say_total(pruned.reclaimed);
    Ok(0)
}

pub fn system(engine: &Engine, command: &SystemPrune) -> Result<u8, Failure> {
    let filter = PruneFilter::parse(&command.filter, Timestamp::now())?;
    let (which, what) = which(command.all);
    let mut warning = format!("This will remove:\n  - all stopped containers\n  - {what}\n");
    if !command.filter.is_empty() {
        warning += "\n  Items to be pruned will be filtered with:\n";
        for filter in &command.filter {
            warning += &format!("  - {filter}\n");
        }
    }
    if !command.force && !confirm(&warning)? {
        return Ok(0);
    }
    let containers = engine.prune_containers(&filter)?;
    say_containers(&containers);
    let images = engine.prune_images(which, &filter)?;
    say_images(&images);
    say_total(containers.reclaimed + images.reclaimed);
    Ok(0)
}

fn which(all: bool) -> (Prune, &'static str) {
    if all {
        (Prune::All, ALL_IMAGES)
    } else {
        (Prune::Dangling, DANGLING_IMAGES)
    }
}

fn say_containers(pruned: &PrunedContainers) {
    if !pruned.deleted.is_empty() {
        println!("Deleted Containers:");
        pruned.deleted.iter().for_each(|id| println!("{id}"));
        println!();
    }
}

fn say_images(pruned: &Pruned) {
    let removed = &pruned.removed;
    if removed.untagged.is_empty() && removed.deleted.is_empty() {
        return;
    }
    println!("Deleted Images:");
    for name in &removed.untagged {
        println!("untagged: {}", name.familiar());
    }
    for id in &removed.deleted {
        println!("deleted: {id}");
    }
    println!();
}

fn say_total(reclaimed: u64) {
    println!("Total reclaimed space: {}", table::exact_size(reclaimed));
}
