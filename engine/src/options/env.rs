//! Environment variables of `-e` and `--env-file`.

use std::path::{Path, PathBuf};

/// Why environment variables could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// `-e` without a name.
    #[error("invalid environment variable: '{0}'")]
    NoName(String),
    /// A name with white space in an env file.
    #[error("invalid env file ({file}): variable '{name}' contains whitespaces")]
    WhiteSpace {
        /// The file.
        file: PathBuf,
        /// The name.
        name: String,
    },
    /// A line without a name in an env file.
    #[error("invalid env file ({file}): no variable name on line '{line}'")]
    NoNameInFile {
        /// The file.
        file: PathBuf,
        /// The line.
        line: String,
    },
    /// An env file that is not text.
    #[error("invalid env file ({0}): it is not UTF-8 text")]
    NotText(PathBuf),
    /// An env file that can't be read.
    #[error("cannot read the env file {file}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A setting: `Some` value, or `None` when a variable of the image is to be removed.
pub type Setting = (String, Option<String>);

/// Reads one `-e`: `NAME=VALUE`, or `NAME` to pass on the host's value, which removes the variable when the host has none.
pub fn from_option(text: &str, host: impl Fn(&str) -> Option<String>) -> Result<Setting, EnvError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, host(text)),
    };
    if name.is_empty() {
        return Err(EnvError::NoName(text.to_owned()));
    }
    Ok((name.to_owned(), value))
}

/// Reads an env file.
pub fn from_file(
    file: &Path,
    host: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Setting>, EnvError> {
    let bytes = std::fs::read(file).map_err(|source| EnvError::Read {
        file: file.to_owned(),
        source,
    })?;
    let text = String::from_utf8(bytes).map_err(|_| EnvError::NotText(file.to_owned()))?;
    parse_file(file, text.strip_prefix('\u{feff}').unwrap_or(&text), host)
}

/// A line is `NAME=VALUE`, taken literally without quoting, or `NAME`; lines with `#` in front and empty ones are skipped.
fn parse_file(
    file: &Path,
    text: &str,
    host: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Setting>, EnvError> {
    let mut settings = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line.trim_end(), host(line.trim_end())),
        };
        if name.contains(char::is_whitespace) {
            return Err(EnvError::WhiteSpace {
                file: file.to_owned(),
                name: name.to_owned(),
            });
        }
        if name.is_empty() {
            return Err(EnvError::NoNameInFile {
                file: file.to_owned(),
                line: line.to_owned(),
            });
        }
        // As Docker: a bare name that the host doesn't have says nothing at all.
        if value.is_some() {
            settings.push((name.to_owned(), value));
        }
    }
    Ok(settings)
}

/// The value of a variable in an environment.
pub fn value<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    let mut assignments = environment.iter().filter_map(|text| text.split_once('='));
    assignments
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// Lays `settings` over `base`, whose entries are `NAME=VALUE`; a replaced variable keeps its place.
pub fn merge(base: Vec<String>, settings: &[Setting]) -> Vec<String> {
    let mut merged = base;
    for (name, value) in settings {
        let place = merged
            .iter()
            .position(|entry| entry.split('=').next() == Some(name));
        match (place, value) {
            (Some(place), Some(value)) => merged[place] = format!("{name}={value}"),
            (None, Some(value)) => merged.push(format!("{name}={value}")),
            (Some(place), None) => {
                merged.remove(place);
            }
            (None, None) => {}
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Option<String> {
        (name == "FROM_HOST").then(|| "yes".to_owned())
    }

    #[test]
    fn an_env_file_is_taken_literally() {
        let text = "# comment\n\n A=1\nB= two words \nC=\"q\"\nFROM_HOST\nNOT_THERE\nD=\nE=a=b\n";
        let read = parse_file(Path::new("f"), text, host).expect("valid");
        let read: Vec<_> = read
            .iter()
            .map(|(n, v)| format!("{n}={}", v.as_deref().unwrap_or("-")))
            .collect();
        assert_eq!(
            read,
            [
                "A=1",
                "B= two words ",
                "C=\"q\"",
                "FROM_HOST=yes",
                "D=",
                "E=a=b"
            ]
        );
        assert!(parse_file(Path::new("f"), "A B=1", host).is_err());
        assert!(parse_file(Path::new("f"), "=1", host).is_err());
    }

    #[test]
    fn an_option_overrides_adds_and_removes() {
        let base = vec!["PATH=/bin".to_owned(), "A=1".to_owned(), "B=2".to_owned()];
        let settings: Vec<_> = ["A=9", "B", "C=3", "FROM_HOST"]
            .iter()
            .map(|text| from_option(text, host).expect("valid"))
            .collect();
        assert_eq!(
            merge(base, &settings),
            ["PATH=/bin", "A=9", "C=3", "FROM_HOST=yes"]
        );
        assert!(from_option("=x", host).is_err());
    }
}
