//! Image references, read and shown as Docker does: `nginx` is `docker.io/library/nginx:latest`.
//!
//! The grammar is that of the `distribution/reference` package, which Docker, Podman and containerd share.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";
const MAX_NAME: usize = 255;

/// The full name of an image: registry, repository, and a tag or a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// It does not follow the grammar.
    #[error(
        "`{0}` is not the name of an image: expected something like nginx, nginx:1.25 or registry.example:5000/team/app@sha256:…"
    )]
    Format(String),
    /// Repository names have no upper-case letters.
    #[error("`{0}` is not the name of an image: the repository has to be in lower case")]
    Uppercase(String),
    /// 64 hexadecimal digits are always an image's id.
    #[error("`{0}` is the id of an image and cannot be a name")]
    Id(String),
    /// The name without tag and digest is above 255 characters.
    #[error("the name of an image cannot have more than 255 characters")]
    TooLong,
    /// Digests are `sha256:` and 64 digits.
    #[error(transparent)]
    Digest(#[from] crate::digest::DigestError),
}

impl Reference {
    /// Host, with its port if it has one, of the registry.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path in the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; `latest` was put in when neither tag nor digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest's digest.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Domain and path, as they are shown: `nginx`, `ghcr.io/team/app`.
    pub fn familiar_name(&self) -> String {
        match (&*self.domain, self.path.split_once('/')) {
            (DEFAULT_DOMAIN, Some((DEFAULT_NAMESPACE, rest))) if !rest.contains('/') => {
                rest.to_owned()
            }
            // Without the domain its first component would be taken for one.
            (DEFAULT_DOMAIN, Some((first, _))) if is_like_domain(first) => {
                format!("{DEFAULT_DOMAIN}/{}", self.path)
            }
            (DEFAULT_DOMAIN, _) => self.path.clone(),
            (domain, _) => format!("{domain}/{}", self.path),
        }
    }

    /// The shortest form that reads back as the same: `nginx:latest`.
    pub fn familiar(&self) -> String {
        self.familiar_name() + &self.suffix()
    }

    fn suffix(&self) -> String {
        let tag = self
            .tag
            .as_ref()
            .map(|tag| format!(":{tag}"))
            .unwrap_or_default();
        let digest = self
            .digest
            .map(|digest| format!("@{digest}"))
            .unwrap_or_default();
        tag + &digest
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = || ReferenceError::Format(text.to_owned());
        if text.len() == 64 && Digest::from_hex(text).is_ok() {
            return Err(ReferenceError::Id(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        let (domain, path) = split_domain(name);
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase(text.to_owned()));
        }
        if !is_domain(&domain) || !path.split('/').all(is_path_component) || !tag.is_none_or(is_tag)
        {
            return Err(wrong());
        }
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong);
        }
        let tag = match (tag, digest) {
            (None, None) => Some(DEFAULT_TAG),
            (tag, _) => tag,
        };
        Ok(Self {
            domain,
            path,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// The full form: `docker.io/library/nginx:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// A colon behind the last slash starts the tag; one before it belongs to a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[last..].find(':') {
        Some(colon) => (&text[..last + colon], Some(&text[last + colon + 1..])),
        None => (text, None),
    }
}

/// The first component is a registry if it could not be a user's name at Docker's.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if is_like_domain(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        (domain.to_owned(), format!("{DEFAULT_NAMESPACE}/{path}"))
    } else {
        (domain.to_owned(), path.to_owned())
    }
}

fn is_like_domain(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port))
                if !address.is_empty()
                    && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') =>
            {
                return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            }
            _ => return false,
        },
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Letters and digits, joined by one dot, one or two underscores, or any number of hyphens.
fn is_path_component(component: &str) -> bool {
    let is_separator = |byte: u8| matches!(byte, b'.' | b'_' | b'-');
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if is_separator(first) || is_separator(last) {
        return false;
    }
    bytes
        .chunk_by(|&a, &b| is_separator(a) == is_separator(b))
        .all(|chunk| match chunk {
            b"." | b"_" | b"__" => true,
            [b'-', ..] => chunk.iter().all(|&byte| byte == b'-'),
            _ => chunk
                .iter()
                .all(|&byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(is_word)
        && tag
            .bytes()
            .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}
