//! Which program a container runs, and with which environment: Docker's rules for joining an image's configuration with what the user gave.

use oci_spec::image::Config;

use super::DEFAULT_PATH;
use crate::options::env::{self, Setting};

/// There is nothing to run.
#[derive(Debug, thiserror::Error)]
#[error(
    "no command specified: the image has neither an entry point nor a command, so give one after the image's name"
)]
pub struct NoCommand;

/// The entry point, and the command behind it; together they are the program and its arguments. `entrypoint` replaces the image's
/// entry point and drops its command; an empty one only does that.
pub fn args(
    image: Option<&Config>,
    entrypoint: Option<&str>,
    command: &[String],
) -> Result<(Vec<String>, Vec<String>), NoCommand> {
    let of_image = |list: Option<&Vec<String>>| list.cloned().unwrap_or_default();
    let (entrypoint, default) = match entrypoint {
        Some("") => (Vec::new(), Vec::new()),
        Some(program) => (vec![program.to_owned()], Vec::new()),
        None => (
            of_image(image.and_then(|image| image.entrypoint().as_ref())),
            of_image(image.and_then(|image| image.cmd().as_ref())),
        ),
    };
    let command = match command {
        [] => default,
        given => given.to_vec(),
    };
    if entrypoint.is_empty() && command.is_empty() {
        Err(NoCommand)
    } else {
        Ok((entrypoint, command))
    }
}

/// The environment: defaults, above them the image's, above them the user's.
pub fn environment(
    image: Option<&Config>,
    hostname: &str,
    tty: bool,
    settings: &[Setting],
) -> Vec<String> {
    let mut base = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if tty {
        base.push("TERM=xterm".to_owned());
    }
    let of_image: Vec<Setting> = image
        .and_then(|image| image.env().as_ref())
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
        .collect();
    env::merge(env::merge(base, &of_image), settings)
}

#[cfg(test)]
mod tests {
    use oci_spec::image::ConfigBuilder;

    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn entry_point_and_command_join_as_dockers() {
        let image = ConfigBuilder::default()
            .entrypoint(strings(&["/e", "x"]))
            .cmd(strings(&["c"]))
            .build()
            .expect("config");
        let args = |entrypoint, command: &[&str]| {
            let args = args(Some(&image), entrypoint, &strings(command));
            let (entrypoint, command) = args.expect("a command");
            [entrypoint, command].concat()
        };
        assert_eq!(args(None, &[]), ["/e", "x", "c"]);
        assert_eq!(args(None, &["a", "b"]), ["/e", "x", "a", "b"]);
        assert_eq!(args(Some("/n"), &[]), ["/n"]);
        assert_eq!(args(Some("/n"), &["a"]), ["/n", "a"]);
        assert_eq!(args(Some(""), &["a"]), ["a"]);
        assert!(super::args(Some(&image), Some(""), &[]).is_err());
        assert!(super::args(None, None, &[]).is_err());
    }

    #[test]
    fn the_users_environment_wins() {
        let image = ConfigBuilder::default()
            .env(strings(&["PATH=/bin", "A=1", "B=2"]))
            .build()
            .expect("config");
        let settings = [
            ("A".to_owned(), Some("9".to_owned())),
            ("B".to_owned(), None),
        ];
        assert_eq!(
            environment(Some(&image), "h", true, &settings),
            ["PATH=/bin", "HOSTNAME=h", "TERM=xterm", "A=9"]
        );
        assert_eq!(
            environment(None, "h", false, &[]),
            [DEFAULT_PATH, "HOSTNAME=h"]
        );
    }
}
