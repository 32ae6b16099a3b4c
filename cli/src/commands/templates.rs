//! `rvm template`.

use rvm_engine::Engine;
use rvm_engine::root::Root;
use rvm_engine::template::{Listed, Templates};
use serde_json::{Value, json};

use super::create;
use crate::arguments_create::Create;
use crate::arguments_template::{Template, TemplateLs, TemplatePrune};
use crate::confirm::confirm;
use crate::failure::Failure;
use crate::listing::{Field, Format};
use crate::table;

const FIELDS: [Field; 8] = [
    ("ID", "TEMPLATE ID"),
    ("Image", "IMAGE"),
    ("Stage", "STAGE"),
    ("Memory", "MEMORY"),
    ("CPUs", "CPUS"),
    ("CreatedSince", "CREATED"),
    ("UsedSince", "USED"),
    ("Size", "SIZE"),
];

/// How much of an id is shown.
const SHORT: usize = 12;

pub fn run(root: &Root, command: Template) -> Result<u8, Failure> {
    let templates = Templates::of(root);
    match command {
        Template::Create(command) => create(root, *command),
        Template::Ls(command) => list(&templates, &command),
        Template::Rm(command) => {
            let mut failed = false;
            for text in &command.templates {
                let removed = templates
                    .resolve(text)
                    .and_then(|listed| templates.remove(&listed.key));
                match removed {
                    Ok(()) => println!("{text}"),
                    Err(error) => {
                        eprintln!("rvm: {}", Failure::from(error));
                        failed = true;
                    }
                }
            }
            Ok(failed.into())
        }
        Template::Prune(command) => prune(&templates, &command),
    }
}

/// By a container that is never started, and gone afterwards.
fn create(root: &Root, command: Create) -> Result<u8, Failure> {
    let engine = Engine::open(root.clone())?;
    let container = create::create(&engine, command.container)?;
    let made = engine.make_templates(&container);
    engine.remove(&container, true)?;
    if let Some(key) = made? {
        println!("{}", key.as_str());
    }
    Ok(0)
}

fn list(templates: &Templates, command: &TemplateLs) -> Result<u8, Failure> {
    let format = Format::parse(&command.format)?;
    let listed = templates.list()?;
    if command.quiet {
        for template in &listed {
            println!("{}", id(template, command.no_trunc));
        }
        return Ok(0);
    }
    let rows: Vec<Value> = listed
        .iter()
        .map(|template| {
            json!({
                "ID": id(template, command.no_trunc),
                "Image": template.about.image,
                "Stage": template.about.stage.to_string(),
                "Memory": format!("{}MiB", template.about.memory_mib),
                "CPUs": template.about.vcpus.to_string(),
                "CreatedSince": table::since(template.about.created) + " ago",
                "UsedSince": table::since(template.used) + " ago",
                "Size": table::size(template.size),
            })
        })
        .collect();
    format.print(&FIELDS, &FIELDS.map(|(field, _)| field), &rows)?;
    Ok(0)
}

fn id(template: &Listed, no_trunc: bool) -> &str {
    let id = template.key.as_str();
    if no_trunc { id } else { &id[..SHORT] }
}

fn prune(templates: &Templates, command: &TemplatePrune) -> Result<u8, Failure> {
    let what = match command.keep_storage {
        Some(_) => "This will remove the least recently used templates.",
        None => "This will remove all templates.",
    };
    if !command.force && !confirm(what)? {
        return Ok(0);
    }
    let limit = command.keep_storage.map_or(0, |size| size.bytes());
    let gone = templates.make_room(limit, None)?;
    if !gone.is_empty() {
        println!("Deleted Templates:");
        gone.iter()
            .for_each(|template| println!("{}", template.key.as_str()));
        println!();
    }
    let reclaimed = gone.iter().map(|template| template.size).sum();
    println!("Total reclaimed space: {}", table::exact_size(reclaimed));
    Ok(0)
}
