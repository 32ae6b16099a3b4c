//! Whose certificates are believed: the system's authorities, or those that are set for one registry.

use std::fs;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use super::config::user_folder;

/// Where Docker looks for a registry's own authorities; run without root, it looks below the user's
/// configuration folder instead.
const SYSTEM: &str = "/etc/docker/certs.d";
const USER: &str = "docker/certs.d";

/// What makes a certificate a good one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    /// One of the system's authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others) has signed it.
    System,
    /// One of these PEM files' authorities has.
    Authorities(Vec<PathBuf>),
    /// Nothing has to.
    Any,
}

/// What holds for a host, named with its port: `*.crt` in a folder of that name, or the system's.
pub(super) fn of(host: &str) -> Trust {
    let folders = user_folder().map(|folder| folder.join(USER));
    let files = folders
        .into_iter()
        .chain([PathBuf::from(SYSTEM)])
        .map(|folder| authorities(&folder.join(host)))
        .find(|files| !files.is_empty());
    files.map_or(Trust::System, Trust::Authorities)
}

fn authorities(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "crt"))
        .collect();
    files.sort();
    files
}

impl Trust {
    pub(super) fn tls(&self) -> TlsConfig {
        let tls = TlsConfig::builder();
        match self {
            Self::System => tls.root_certs(RootCerts::PlatformVerifier),
            Self::Authorities(files) => {
                let certificates: Vec<_> =
                    files.iter().flat_map(|path| certificates(path)).collect();
                tls.root_certs(RootCerts::new_with_certs(&certificates))
            }
            Self::Any => tls.disable_verification(true),
        }
        .build()
    }
}

fn certificates(path: &Path) -> Vec<Certificate<'static>> {
    let pem = fs::read(path).unwrap_or_else(|err| {
        tracing::warn!("the certificate {} is left out: {err}", path.display());
        Vec::new()
    });
    ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}
