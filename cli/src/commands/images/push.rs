//! `rvm push`.

use rvm_engine::image::{Images, Reference, Silent};
use rvm_engine::root::Root;

use super::progress::{Bars, PUSH, Stream};
use super::pull::has_tag;
use crate::arguments_image::Push;
use crate::failure::Failure;

pub fn run(root: &Root, command: &Push) -> Result<u8, Failure> {
    let name: Reference = command.name.parse()?;
    let images = Images::open(root)?;
    let names = if command.all_tags {
        if has_tag(&command.name) {
            return Err(Failure::new(1, "tag can't be used with --all-tags/-a"));
        }
        let all = images
            .list()?
            .into_iter()
            .filter_map(|image| image.reference);
        let same = |other: &Reference| {
            other.familiar_name() == name.familiar_name() && other.digest().is_none()
        };
        all.filter(same).collect()
    } else {
        if !command.quiet && !has_tag(&command.name) {
            println!("Using default tag: latest");
        }
        vec![name.clone()]
    };
    if names.is_empty() {
        let name = name.familiar_name();
        return Err(Failure::new(
            1,
            format!("An image does not exist locally with the tag: {name}"),
        ));
    }
    if !command.quiet {
        println!(
            "The push refers to repository [{}/{}]",
            name.domain(),
            name.path()
        );
    }
    for name in names {
        if command.quiet {
            images.push(&name, &Silent)?;
            println!("{name}");
            continue;
        }
        let pushed = images.push(&name, &Bars::new(PUSH, Stream::Stdout, None))?;
        let tag = name.tag().unwrap_or("latest");
        println!("{tag}: digest: {} size: {}", pushed.digest, pushed.size);
    }
    Ok(0)
}
