//! Which registries there are: mirrors and insecure ones, from a file with the keys of Docker's `daemon.json`.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The system's file; a user's own is `rvm/registries.json` in the XDG configuration folder.
const SYSTEM: &str = "/etc/rvm/registries.json";
/// Names another file in place of both.
const VARIABLE: &str = "RVM_REGISTRIES";
/// Where the registry of `docker.io` really is.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// Mirrors and insecure registries.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryConfig {
    /// Hosts, with their ports, or networks as in `10.0.0.0/8`, that may speak plain HTTP or have any certificate.
    #[serde(default)]
    pub insecure_registries: Vec<String>,
    /// URLs to be tried before Docker's own registry.
    #[serde(default)]
    pub registry_mirrors: Vec<String>,
}

/// The file of registries is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("the list of registries {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error(
        "the list of registries {path} cannot be understood: expected {{\"insecure-registries\": [\"host:port\"], \"registry-mirrors\": [\"https://host\"]}}"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
}

/// A place to ask for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `https://host:port`, without a slash at the end; a mirror's may have a path.
    pub(super) base: String,
    /// Host and port.
    pub(super) host: String,
    /// The same host comes once more with plain HTTP: not to be waited for if it does not answer this one.
    pub(super) tentative: bool,
}

impl RegistryConfig {
    /// Reads the file that is in force; without one nothing is special.
    pub fn load() -> Result<Self, ConfigError> {
        if let Some(path) = std::env::var_os(VARIABLE) {
            return Ok(Self::read(Path::new(&path))?.unwrap_or_default());
        }
        let user = user_folder().map(|folder| folder.join("rvm/registries.json"));
        for path in user.into_iter().chain([PathBuf::from(SYSTEM)]) {
            if let Some(config) = Self::read(&path)? {
                return Ok(config);
            }
        }
        Ok(Self::default())
    }

    fn read(path: &Path) -> Result<Option<Self>, ConfigError> {
        match fs::read(path) {
            Ok(json) => {
                serde_json::from_slice(&json)
                    .map(Some)
                    .map_err(|source| ConfigError::Format {
                        path: path.to_owned(),
                        source,
                    })
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConfigError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Where to ask for images of `domain`, in this order.
    pub(super) fn endpoints(&self, domain: &str, mirrors: bool) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        if domain == "docker.io" && mirrors {
            for mirror in &self.registry_mirrors {
                let base = mirror.trim_end_matches('/');
                let Some((_, rest)) = base.split_once("://") else {
                    tracing::warn!("the mirror {mirror} is left out: it is no URL");
                    continue;
                };
                let host = rest.split('/').next().unwrap_or(rest);
                endpoints.push(Endpoint {
                    base: base.to_owned(),
                    host: host.to_owned(),
                    tentative: false,
                });
            }
        }
        let host = if domain == "docker.io" {
            DOCKER_HUB
        } else {
            domain
        };
        let insecure = self.is_insecure(host);
        let endpoint = |scheme: &str, tentative| Endpoint {
            base: format!("{scheme}://{host}"),
            host: host.to_owned(),
            tentative,
        };
        endpoints.push(endpoint("https", insecure));
        if insecure {
            endpoints.push(endpoint("http", false));
        }
        endpoints
    }

    /// As with Docker, the loopback network is always insecure.
    pub(super) fn is_insecure(&self, host: &str) -> bool {
        let name = name(host);
        let address: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
        name == "localhost"
            || address.is_some_and(|address| address.is_loopback())
            || self.insecure_registries.iter().any(|entry| {
                let entry = entry
                    .trim_start_matches("http://")
                    .trim_start_matches("https://");
                entry == host
                    || entry == name
                    || address.is_some_and(|address| is_in(address, entry))
            })
    }
}

/// The user's XDG configuration folder.
pub(super) fn user_folder() -> Option<PathBuf> {
    std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
}

/// A host without its port.
pub(super) fn name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether an address is of a network such as `10.0.0.0/8`.
pub(super) fn is_in(address: IpAddr, network: &str) -> bool {
    let Some((base, bits)) = network.split_once('/') else {
        return false;
    };
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32u32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let ((base, width), (address, address_width)) = (number(base), number(address));
    let mask = u128::MAX
        .checked_shl(128u32.saturating_sub(bits))
        .unwrap_or(0);
    width == address_width && bits <= width && base & mask == address & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_listed_hosts_are_insecure() {
        let config = RegistryConfig {
            insecure_registries: vec!["registry.test:5000".into(), "10.0.0.0/8".into()],
            registry_mirrors: vec![],
        };
        for host in [
            "127.0.0.1:5000",
            "localhost",
            "[::1]:5000",
            "registry.test:5000",
            "10.1.2.3:80",
        ] {
            assert!(config.is_insecure(host), "{host}");
        }
        for host in [
            "registry.test",
            "registry.test:5001",
            "11.0.0.1",
            "127.example",
        ] {
            assert!(!config.is_insecure(host), "{host}");
        }
    }

    #[test]
    fn mirrors_stand_before_dockers_registry_and_no_other() {
        let config = RegistryConfig {
            registry_mirrors: vec!["https://mirror.test/".into()],
            ..RegistryConfig::default()
        };
        let bases = |domain, mirrors| {
            let endpoints = config.endpoints(domain, mirrors);
            endpoints.into_iter().map(|e| e.base).collect::<Vec<_>>()
        };
        assert_eq!(
            bases("docker.io", true),
            ["https://mirror.test", "https://registry-1.docker.io"]
        );
        assert_eq!(bases("docker.io", false), ["https://registry-1.docker.io"]);
        assert_eq!(bases("quay.io", true), ["https://quay.io"]);
        assert_eq!(
            bases("localhost:1", true),
            ["https://localhost:1", "http://localhost:1"]
        );
    }
}
