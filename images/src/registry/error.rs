//! Why a registry does not give or take what it should.

use std::io;

use super::config::ConfigError;
use super::credentials::CredentialError;
use crate::convert::ConvertError;
use crate::digest::Digest;
use crate::load::LoadError;
use crate::reference::Reference;
use crate::store::StoreError;

/// Why a pull or a push failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or a broken one.
    #[error("the request for {url} failed")]
    Request {
        /// Without its query.
        url: String,
        /// The reason.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Redirects without end, or to nowhere.
    #[error("the registry redirects {0} in a circle or to something that is no HTTP")]
    Redirect(String),
    /// A redirect gives up encryption.
    #[error(
        "the registry leads from HTTPS to {0}, which is refused: anybody could read and change what comes from there"
    )]
    Downgrade(String),
    /// The registry wants credentials that were not given, or other ones.
    #[error(
        "pull access denied for {0}, repository does not exist or may require 'rvm login': denied: requested access to the resource is denied"
    )]
    Denied(String),
    /// A push without the right to it.
    #[error("push access denied for {0}: log in with 'rvm login' as someone who may write there")]
    PushDenied(String),
    /// The password is wrong.
    #[error(
        "the registry {0} does not accept this user name and password: unauthorized: authentication required"
    )]
    Unauthorized(String),
    /// The way of authentication is unknown.
    #[error("the registry {host} asks for an authentication that is not known here: {challenge}")]
    Challenge {
        /// The registry.
        host: String,
        /// What it said.
        challenge: String,
    },
    /// A token service that would hear the password in clear text.
    #[error(
        "the registry {host} wants the password sent to {realm} without encryption, which is refused"
    )]
    Realm {
        /// The registry.
        host: String,
        /// The token service.
        realm: String,
    },
    /// There is no such image.
    #[error("manifest for {0} not found: manifest unknown")]
    NotFound(String),
    /// An answer that stands for a failure.
    #[error("the registry answered {status} to {what}: {message}")]
    Status {
        /// What was asked.
        what: String,
        /// HTTP's status.
        status: u16,
        /// The beginning of what it said.
        message: String,
    },
    /// An answer against the protocol.
    #[error("the registry's answer to {what} cannot be used: {why}")]
    Answer {
        /// What was asked.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A document of the image is wrong.
    #[error("the image {0} cannot be used")]
    Document(String, #[source] LoadError),
    /// Content that is not what its digest says.
    #[error("the registry sent something else than {expected}: its digest is {found}")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// Content of another length than its descriptor says.
    #[error("the registry sent {found} bytes of {digest}, which has {expected}")]
    Size {
        /// The content.
        digest: Digest,
        /// By its descriptor.
        expected: u64,
        /// At least as many came.
        found: u64,
    },
    /// The connection broke too often.
    #[error(
        "the download of {digest} broke off {tries} times without getting further, at {done} of {total} bytes"
    )]
    Broken {
        /// The content.
        digest: Digest,
        /// How often.
        tries: u32,
        /// Bytes that came.
        done: u64,
        /// Bytes in all.
        total: u64,
        /// How it broke off last.
        #[source]
        source: io::Error,
    },
    /// Nothing for the platform.
    #[error("no matching manifest for {wanted} in the manifest list entries: there are {found}")]
    Platform {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The name has a digest, and something can be pushed to a tag alone.
    #[error("{0} cannot be pushed to: a digest is the result of a push; give a tag")]
    PushDigest(Reference),
    /// There is no such image here.
    #[error("An image does not exist locally with the tag: {0}")]
    NotHere(String),
    /// A layer does not become a file system.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The list of registries.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Writing content failed.
    #[error("writing {0} failed")]
    Write(Digest, #[source] io::Error),
}

impl RegistryError {
    /// Whether the next try may go better.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Request { source, .. } => {
                !matches!(
                    **source,
                    ureq::Error::BadUri(_)
                        | ureq::Error::Http(_)
                        | ureq::Error::HostNotFound
                        | ureq::Error::Tls(_)
                        | ureq::Error::Rustls(_)
                        | ureq::Error::InvalidProxyUrl
                ) && !is_refused(source)
            }
            _ => false,
        }
    }
}

/// Nobody listens: no use in asking again.
fn is_refused(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::ConnectionFailed => true,
        ureq::Error::Io(err) => matches!(
            err.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidData
        ),
        _ => false,
    }
}
