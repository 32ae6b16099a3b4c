//! Platforms, and which of an index's manifests suits one (image-spec, image-index.md).

use std::fmt;
use std::str::FromStr;

use oci_spec::image::ImageConfiguration;

/// Operating system, architecture and its variant, named as Go does: `linux/arm64/v8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux` for all that runs here.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, …; without one, the best of what there is.
    pub variant: Option<String>,
}

/// A text is not a platform.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a platform: expected os/architecture or os/architecture/variant, as in linux/arm64"
)]
pub struct PlatformError(String);

impl Platform {
    /// What this machine runs.
    pub fn host() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            }
            .to_owned(),
            variant: None,
        }
    }

    /// What an image says that it is for.
    pub(crate) fn of(config: &ImageConfiguration) -> Self {
        Self {
            os: config.os().to_string(),
            architecture: config.architecture().to_string(),
            variant: config
                .variant()
                .clone()
                .filter(|variant| !variant.is_empty()),
        }
    }

    /// How well something for `other` suits this platform; the lowest is the best, `None` is not at all.
    pub(crate) fn rank(&self, other: &Self) -> Option<u32> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        let wanted = self
            .variant
            .as_deref()
            .or(default_variant(&self.architecture));
        let found = other
            .variant
            .as_deref()
            .or(default_variant(&other.architecture));
        match (number(wanted), number(found)) {
            _ if wanted == found => Some(0),
            // A processor runs what was made for an earlier variant; the nearest is the best.
            (Some(wanted), Some(found)) => wanted.checked_sub(found),
            (_, None) => Some(u32::MAX),
            (None, Some(_)) => None,
        }
    }
}

fn default_variant(architecture: &str) -> Option<&'static str> {
    match architecture {
        "amd64" => Some("v1"),
        "arm64" => Some("v8"),
        "arm" => Some("v7"),
        _ => None,
    }
}

fn number(variant: Option<&str>) -> Option<u32> {
    variant?.strip_prefix('v')?.parse().ok()
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let wrong = || PlatformError(text.to_owned());
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let words: Vec<&str> = text.split('/').collect();
        if !words.iter().all(|word| is_word(word)) {
            return Err(wrong());
        }
        let architecture = |name: &str| {
            match name {
                "x86_64" | "x86-64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            }
            .to_owned()
        };
        match words[..] {
            [os, name] => Ok(Self {
                os: os.to_owned(),
                architecture: architecture(name),
                variant: None,
            }),
            [os, name, variant] => Ok(Self {
                os: os.to_owned(),
                architecture: architecture(name),
                variant: Some(variant.to_owned()),
            }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .iter()
            .try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Platform;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn the_nearest_earlier_variant_is_chosen() {
        let arm = platform("linux/arm");
        assert_eq!(arm.rank(&platform("linux/arm/v7")), Some(0));
        assert_eq!(arm.rank(&platform("linux/arm/v6")), Some(1));
        assert_eq!(arm.rank(&platform("linux/arm/v8")), None);
        assert_eq!(
            platform("linux/arm/v6").rank(&platform("linux/arm/v7")),
            None
        );
        assert_eq!(
            platform("linux/arm64").rank(&platform("linux/arm64/v8")),
            Some(0)
        );
        assert_eq!(
            platform("linux/amd64").rank(&platform("linux/amd64/v3")),
            None
        );
        assert_eq!(platform("linux/amd64").rank(&platform("linux/arm64")), None);
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for text in ["", "linux", "linux/", "linux/arm/v7/x", "linux/a b"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
