//! `rvm images` and `rvm load`.

use std::io::IsTerminal;

use jiff::Timestamp;
use rvm_engine::image::Images;
use rvm_engine::root::Root;

use crate::arguments;
use crate::failure::Failure;
use crate::table;

pub fn list(root: &Root, command: &arguments::Images) -> Result<u8, Failure> {
    let images = Images::open(root)?.list()?;
    let id = |image: &rvm_engine::image::Listed| {
        let id = image.image.id.to_string();
        if command.no_trunc {
            id
        } else {
            id.trim_start_matches("sha256:").chars().take(12).collect()
        }
    };
    if command.quiet {
        images.iter().for_each(|image| println!("{}", id(image)));
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = images
        .iter()
        .map(|listed| {
            let none = || "<none>".to_owned();
            let created = listed
                .image
                .config
                .created()
                .as_ref()
                .and_then(|time| time.parse::<Timestamp>().ok());
            vec![
                listed
                    .reference
                    .as_ref()
                    .map_or_else(none, |reference| reference.familiar_name()),
                listed
                    .reference
                    .as_ref()
                    .and_then(|reference| reference.tag())
                    .map_or_else(none, str::to_owned),
                id(listed),
                created.map_or("N/A".to_owned(), |time| {
                    format!("{} ago", table::since(time))
                }),
                table::size(listed.image.blob_size()),
            ]
        })
        .collect();
    table::print(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows);
    Ok(0)
}

pub fn load(root: &Root, command: &arguments::Load) -> Result<u8, Failure> {
    let images = Images::open(root)?;
    let loaded = match &command.input {
        Some(path) => images.load(path)?,
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::new(
                1,
                "requested load from stdin, but stdin is a terminal: give a file with --input",
            ));
        }
        None => images.load_stream(std::io::stdin())?,
    };
    for image in loaded {
        if image.references.is_empty() {
            println!("Loaded image ID: {}", image.id);
        }
        for reference in &image.references {
            println!("Loaded image: {}", reference.familiar());
        }
    }
    Ok(0)
}
