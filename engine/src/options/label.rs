//! Labels of `--label` and `--label-file`.

use std::collections::BTreeMap;
use std::path::Path;

use super::env::{self, EnvError};

/// Labels by their keys.
pub type Labels = BTreeMap<String, String>;

/// A text that is no label.
#[derive(Debug, thiserror::Error)]
#[error("invalid label '{0}': it needs a key, as in KEY=VALUE")]
pub struct InvalidLabel(String);

/// Reads one `--label`: `KEY=VALUE`, or `KEY` for an empty value.
pub fn from_option(text: &str) -> Result<(String, String), InvalidLabel> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(InvalidLabel(text.to_owned()));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Reads a file of labels, which has the form of a file of environment variables.
pub fn from_file(file: &Path) -> Result<Vec<(String, String)>, EnvError> {
    let settings = env::from_file(file, |_| Some(String::new()))?;
    Ok(settings
        .into_iter()
        .map(|(key, value)| (key, value.unwrap_or_default()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_a_key_and_may_have_a_value() {
        for (text, key, value) in [("a=b", "a", "b"), ("a", "a", ""), ("a.b=c=d", "a.b", "c=d")] {
            let label = from_option(text).expect(text);
            assert_eq!((label.0.as_str(), label.1.as_str()), (key, value));
        }
        assert!(from_option("").is_err() && from_option("=x").is_err());
    }
}
