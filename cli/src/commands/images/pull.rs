//! `rvm pull`, and what `rvm run` pulls.

use rvm_engine::image::{ImageError, Images, PullOptions, Pulled, Reference, Silent, all_tags};
use rvm_engine::root::Root;

use super::progress::{Bars, PULL};
use crate::arguments_image::{Pull, PullPolicy};
use crate::failure::Failure;

pub fn run(root: &Root, command: &Pull) -> Result<u8, Failure> {
    let name: Reference = command.name.parse()?;
    let options = PullOptions {
        platform: command
            .platform
            .clone()
            .unwrap_or_else(|| PullOptions::default().platform),
        ..PullOptions::default()
    };
    let images = Images::open(root)?;
    if command.all_tags {
        if name.digest().is_some() || has_tag(&command.name) {
            return Err(Failure::new(1, "tag can't be used with --all-tags/-a"));
        }
        for tag in all_tags(&name)? {
            let one: Reference = format!("{}:{tag}", name.familiar_name()).parse()?;
            pull(&images, &one, &options, command.quiet)?;
        }
        return Ok(0);
    }
    if !command.quiet && name.digest().is_none() && !has_tag(&command.name) {
        println!("Using default tag: latest");
    }
    pull(&images, &name, &options, command.quiet)?;
    Ok(0)
}

/// Pulls one image and says so, on standard output, as Docker does.
fn pull(
    images: &Images,
    name: &Reference,
    options: &PullOptions,
    quiet: bool,
) -> Result<(), Failure> {
    if quiet {
        images.pull(name, options, &Silent)?;
    } else {
        println!("{}: Pulling from {}", asked(name), shown_path(name));
        let pulled = images.pull(name, options, &Bars::new(PULL))?;
        println!("Digest: {}", pulled.digest);
        println!("Status: {}", status(&pulled, name));
    }
    println!("{name}");
    Ok(())
}

/// Fetches the image that is to be run, if the policy wants that. Standard output is the container's.
pub fn before_run(root: &Root, image: &str, policy: PullPolicy) -> Result<(), Failure> {
    let images = Images::open(root)?;
    match (policy, images.resolve(image)) {
        (PullPolicy::Never, _) | (PullPolicy::Missing, Ok(_)) => return Ok(()),
        (PullPolicy::Missing, Err(error)) if !is_pullable(&error) => return Err(error.into()),
        (PullPolicy::Missing, Err(_)) => {
            eprintln!("Unable to find image '{}' locally", shown(image))
        }
        (PullPolicy::Always, _) => {}
    }
    let name: Reference = image.parse()?;
    eprintln!("{}: Pulling from {}", asked(&name), shown_path(&name));
    let pulled = images.pull(&name, &PullOptions::default(), &Silent)?;
    eprintln!("Digest: {}", pulled.digest);
    eprintln!("Status: {}", status(&pulled, &name));
    Ok(())
}

fn is_pullable(error: &ImageError) -> bool {
    error.is_missing()
}

fn shown(image: &str) -> String {
    image
        .parse::<Reference>()
        .map_or_else(|_| image.to_owned(), |name| name.familiar())
}

fn status(pulled: &Pulled, name: &Reference) -> String {
    let what = if pulled.is_newer {
        "Downloaded newer image"
    } else {
        "Image is up to date"
    };
    format!("{what} for {}", name.familiar())
}

/// The tag or the digest.
fn asked(name: &Reference) -> String {
    match (name.digest(), name.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}

/// Docker leaves out its own registry only.
fn shown_path(name: &Reference) -> String {
    if name.domain() == "docker.io" {
        name.path().to_owned()
    } else {
        name.familiar_name()
    }
}

/// Whether the user wrote a tag.
pub fn has_tag(text: &str) -> bool {
    text.rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':'))
}
