//! What a list says of a container.

use super::ports;
use crate::container::{Container, State};
use crate::health::Status;
use crate::image::Images;
use crate::lifecycle::Engine;
use crate::words;

/// A container in a list.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The container.
    pub container: Container,
    /// The image's name, or its id where the name is another image's by now.
    pub image: String,
    /// Its program and arguments in one line.
    pub command: String,
    /// Its state in words, such as `Up 3 minutes`.
    pub status: String,
    /// Its ports.
    pub ports: String,
    /// What it takes on the disk, if that was asked.
    pub size: Option<Size>,
}

/// What a container takes on the disk, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// What it has written itself.
    pub written: u64,
    /// That and its image.
    pub with_image: u64,
}

impl Summary {
    pub(super) fn of(
        engine: &Engine,
        container: Container,
        images: Option<&Images>,
        sizes: bool,
    ) -> Self {
        Self {
            image: image(&container, images),
            command: command(&container.settings.args),
            status: status(&container),
            ports: ports::text(&ports::of(&container)),
            size: sizes.then(|| engine.size_of(&container, images)),
            container,
        }
    }
}

impl Engine {
    /// What a list says of one container.
    pub fn summary(&self, container: &Container) -> Summary {
        let images = Images::open(self.root()).ok();
        Summary::of(self, container.clone(), images.as_ref(), false)
    }

    /// What a container takes on the disk.
    pub fn size_of(&self, container: &Container, images: Option<&Images>) -> Size {
        let written = self.written_bytes(container);
        let image = images.and_then(|images| images.resolve(&container.settings.image_id).ok());
        Size {
            written,
            with_image: written + image.map_or(0, |image| image.blob_size()),
        }
    }
}

fn image(container: &Container, images: Option<&Images>) -> String {
    let settings = &container.settings;
    match images.map(|images| images.resolve(&settings.image)) {
        Some(Ok(image)) if image.id.to_string() == settings.image_id => settings.image.clone(),
        Some(_) => {
            let id = settings.image_id.rsplit(':').next().unwrap_or_default();
            id.get(..12).unwrap_or(id).to_owned()
        }
        None => settings.image.clone(),
    }
}

/// As Docker joins them: an argument with a blank in it stands in quotes, the program does not.
fn command(args: &[String]) -> String {
    let quoted = args.iter().enumerate().map(|(at, arg)| match at {
        1.. if arg.contains(' ') => format!("'{arg}'"),
        _ => arg.clone(),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn status(container: &Container) -> String {
    match (container.state, container.started, container.finished) {
        (State::Running, Some(started), _) => {
            let up = format!("Up {}", words::since(started));
            match container.health.as_ref().map(|health| health.status) {
                None => up,
                Some(Status::Starting) => format!("{up} (health: starting)"),
                Some(status) => format!("{up} ({})", status.as_str()),
            }
        }
        (State::Paused, Some(started), _) => format!("Up {} (Paused)", words::since(started)),
        (State::Restarting | State::Exited, _, Some(finished)) => {
            let word = match container.state {
                State::Restarting => "Restarting",
                _ => "Exited",
            };
            let code = container.exit_code.unwrap_or(0);
            format!("{word} ({code}) {} ago", words::since(finished))
        }
        (State::Removing, _, _) => "Removal In Progress".to_owned(),
        (State::Dead, _, _) => "Dead".to_owned(),
        _ => "Created".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn commands_are_joined_as_dockers() {
        let args = ["sh", "-c", "echo a"].map(str::to_owned);
        assert_eq!(super::command(&args), "sh -c 'echo a'");
    }
}
