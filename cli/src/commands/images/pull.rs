//! `rvm pull`, and what `rvm run` pulls.

use rvm_engine::image::{Images, PullOptions, Pulled, Reference, Silent, all_tags};
use rvm_engine::root::Root;

use super::progress::{Bars, PULL, Stream};
use crate::arguments_image::{Pull, PullPolicy};
use crate::failure::Failure;

pub fn run(root: &Root, command: &Pull) -> Result<u8, Failure> {
    let name: Reference = command.name.parse()?;
    let mut options = PullOptions::default();
    if let Some(platform) = &command.platform {
        options.platform = platform.clone();
    }
    let shown = (!command.quiet).then_some(Stream::Stdout);
    let images = Images::open(root)?;
    if command.all_tags {
        return pull_all(&images, &name, &command.name, &options, shown);
    }
    if let Some(stream) = shown
        && name.digest().is_none()
        && !has_tag(&command.name)
    {
        stream.line("Using default tag: latest");
    }
    let pulled = pull(&images, &name, &options, shown)?;
    if let Some(stream) = shown {
        stream.line(&status(pulled.is_newer, &name.familiar()));
    }
    println!("{name}");
    Ok(0)
}

fn pull_all(
    images: &Images,
    name: &Reference,
    written: &str,
    options: &PullOptions,
    shown: Option<Stream>,
) -> Result<u8, Failure> {
    if name.digest().is_some() || has_tag(written) {
        return Err(Failure::new(1, "tag can't be used with --all-tags/-a"));
    }
    let mut is_newer = false;
    for tag in all_tags(name)? {
        let one: Reference = format!("{}:{tag}", name.familiar_name()).parse()?;
        is_newer |= pull(images, &one, options, shown)?.is_newer;
    }
    if let Some(stream) = shown {
        stream.line(&status(is_newer, &name.familiar_name()));
    }
    println!("{}/{}", name.domain(), name.path());
    Ok(0)
}

/// Pulls one image and says so where it is to be shown, as Docker does; its status comes after that.
fn pull(
    images: &Images,
    name: &Reference,
    options: &PullOptions,
    shown: Option<Stream>,
) -> Result<Pulled, Failure> {
    let Some(stream) = shown else {
        return Ok(images.pull(name, options, &Silent)?);
    };
    // It comes once the registry is known to have the image.
    let heading = format!("{}: Pulling from {}", asked(name), shown_path(name));
    let bars = Bars::new(PULL, stream, Some(heading));
    let pulled = images.pull(name, options, &bars)?;
    bars.begin();
    drop(bars);
    stream.line(&format!("Digest: {}", pulled.digest));
    Ok(pulled)
}

/// Fetches the image that is to be run, if the policy wants that. Standard output is the container's.
pub fn before_run(
    root: &Root,
    image: &str,
    policy: PullPolicy,
    quiet: bool,
) -> Result<(), Failure> {
    let images = Images::open(root)?;
    let is_missing = match images.resolve(image) {
        _ if policy == PullPolicy::Never => return Ok(()),
        Ok(_) if policy == PullPolicy::Missing => return Ok(()),
        Ok(_) => false,
        Err(error) if error.is_missing() => policy == PullPolicy::Missing,
        Err(error) if policy == PullPolicy::Missing => return Err(error.into()),
        Err(_) => false,
    };
    let name: Reference = image.parse()?;
    let shown = (!quiet).then_some(Stream::Stderr);
    if let Some(stream) = shown
        && is_missing
    {
        stream.line(&format!(
            "Unable to find image '{}' locally",
            name.familiar()
        ));
    }
    let pulled = pull(&images, &name, &PullOptions::default(), shown)?;
    if let Some(stream) = shown {
        stream.line(&status(pulled.is_newer, &name.familiar()));
    }
    Ok(())
}

fn status(is_newer: bool, name: &str) -> String {
    let what = if is_newer {
        "Downloaded newer image"
    } else {
        "Image is up to date"
    };
    format!("Status: {what} for {name}")
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
