//! `--filter` of `rvm images`.

use jiff::Timestamp;
use rvm_engine::image::{Images, Listed};
use rvm_engine::options::moment;

use super::list::created;
use crate::failure::Failure;

/// What all filters together let through.
#[derive(Debug, Default)]
pub struct Filter {
    dangling: Option<bool>,
    references: Vec<String>,
    labels: Vec<(String, Option<String>)>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Filter {
    /// Reads `NAME=VALUE` filters; `repository` is one more pattern.
    pub fn parse(
        filters: &[String],
        repository: Option<&str>,
        images: &Images,
    ) -> Result<Self, Failure> {
        let mut filter = Self::default();
        filter.references.extend(repository.map(str::to_owned));
        for text in filters {
            let (name, value) = text.split_once('=').ok_or_else(|| {
                Failure::new(1, format!("invalid argument \"{text}\" for \"-f, --filter\" flag: bad format of filter (expected name=value)"))
            })?;
            match name {
                "dangling" => {
                    let wanted = truth(value);
                    filter.dangling = Some(wanted.ok_or_else(|| {
                        Failure::new(1, format!("invalid filter 'dangling={value}'"))
                    })?);
                }
                "reference" => filter.references.push(value.to_owned()),
                "label" => {
                    let (key, wanted) = value
                        .split_once('=')
                        .map_or((value, None), |(key, wanted)| (key, Some(wanted)));
                    filter
                        .labels
                        .push((key.to_owned(), wanted.map(str::to_owned)));
                }
                "before" => filter.before = Some(time_of(images, value)?),
                "since" => filter.since = Some(time_of(images, value)?),
                "until" => filter.until = Some(moment::parse(value, Timestamp::now())?),
                _ => return Err(Failure::new(1, format!("invalid filter '{name}'"))),
            }
        }
        Ok(filter)
    }

    /// Whether an image passes.
    pub fn takes(&self, image: &Listed) -> bool {
        let time = created(image);
        self.dangling
            .is_none_or(|dangling| dangling == image.reference.is_none())
            && (self.references.is_empty()
                || self
                    .references
                    .iter()
                    .any(|pattern| is_named(image, pattern)))
            && self.labels.iter().all(|(key, wanted)| {
                let labels = image
                    .image
                    .config
                    .config()
                    .as_ref()
                    .and_then(|config| config.labels().as_ref());
                let found = labels.and_then(|labels| labels.get(key));
                found.is_some_and(|found| wanted.as_ref().is_none_or(|wanted| wanted == found))
            })
            && self
                .until
                .is_none_or(|until| time.is_some_and(|time| time < until))
            && self
                .before
                .is_none_or(|before| time.is_some_and(|time| time < before))
            && self
                .since
                .is_none_or(|since| time.is_some_and(|time| time > since))
    }
}

fn time_of(images: &Images, name: &str) -> Result<Timestamp, Failure> {
    let image = images.resolve(name)?;
    let time = image
        .config
        .created()
        .as_ref()
        .and_then(|time| time.parse().ok());
    Ok(time.unwrap_or_default())
}

/// Docker matches the familiar name, with and without its tag.
fn is_named(image: &Listed, pattern: &str) -> bool {
    image.reference.as_ref().is_some_and(|reference| {
        let (name, full) = (reference.familiar_name(), reference.familiar());
        [&*name, &*full]
            .iter()
            .any(|text| matches(pattern.as_bytes(), text.as_bytes()))
    })
}

/// What Docker takes for true and for false.
pub fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Some(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Go's `path.Match`: `*` and `?` stand for anything but a slash, `[a-z]` for one of its characters.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'[', set @ ..], [first, text @ ..]) => match class(set, *first) {
            Some((is_in, pattern)) => is_in && matches(pattern, text),
            None => false,
        },
        ([b'\\', a, pattern @ ..], [b, text @ ..]) => a == b && matches(pattern, text),
        ([b'*', rest @ ..], _) => {
            matches(rest, text)
                || matches!(text, [first, ..] if *first != b'/') && matches(pattern, &text[1..])
        }
        ([b'?', pattern @ ..], [first, text @ ..]) => *first != b'/' && matches(pattern, text),
        ([a, pattern @ ..], [b, text @ ..]) => a == b && matches(pattern, text),
        _ => false,
    }
}

/// Whether a set, which `set` starts with, has the character; and what is behind it.
fn class(set: &[u8], character: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match set {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    let mut empty = true;
    loop {
        rest = match rest {
            [b']', behind @ ..] if !empty => return Some((found != negated, behind)),
            [low, b'-', high, behind @ ..] if *high != b']' => {
                found |= (*low..=*high).contains(&character);
                behind
            }
            [b'\\', one, behind @ ..] | [one, behind @ ..] => {
                found |= *one == character;
                behind
            }
            [] => return None,
        };
        empty = false;
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_are_gos() {
        for (pattern, text, is_match) in [
            ("busy*", "busybox:latest", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("busybo?", "busybox", true),
            ("busybox", "busybox:latest", false),
            ("b[a-z]s?[^a-x]ox", "busybox", false),
            ("b[a-z]s?[^x]ox", "busybox", true),
            ("[]", "a", false),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                is_match,
                "{pattern} {text}"
            );
        }
    }
}
