//! Trying the places where a registry may be, mirrors among them, one after another.

use super::client::Client;
use super::credentials::CredentialStore;
use super::error::RegistryError;
use super::http::Http;
use crate::reference::Reference;

/// What is asked of a registry, and thereby which rights a token has to give.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// To read; mirrors will do.
    Pull,
    /// To write, with blobs from these other repositories of the registry.
    Push(&'a [&'a str]),
}

impl Purpose<'_> {
    /// The scopes of a token (distribution, "Token Scope Documentation"), with blanks between them.
    fn scope(self, path: &str) -> String {
        match self {
            Self::Pull => format!("repository:{path}:pull"),
            Self::Push(sources) => {
                let own = format!("repository:{path}:pull,push");
                let others = sources
                    .iter()
                    .map(|path| format!(" repository:{path}:pull"));
                own + &others.collect::<String>()
            }
        }
    }
}

/// Tries what `act` does at each endpoint of a registry until it works; the last failure counts.
pub(super) fn at_endpoints<T>(
    http: &Http,
    reference: &Reference,
    purpose: Purpose<'_>,
    act: impl Fn(&Client<'_>) -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    let credentials = CredentialStore::of_user();
    let mirrors = matches!(purpose, Purpose::Pull);
    let mut failure = None;
    for endpoint in http.config().endpoints(reference.domain(), mirrors) {
        let host = if endpoint.host == "registry-1.docker.io" {
            "docker.io"
        } else {
            &endpoint.host
        };
        let own = match &credentials {
            Ok(credentials) => credentials.get(host)?,
            Err(_) => None,
        };
        let name = reference.familiar_name();
        let probed = http.probe(&endpoint);
        let scope = purpose.scope(reference.path());
        let client = Client::new(http, endpoint, reference.path(), &name, scope, own);
        match probed.and_then(|()| act(&client)) {
            Ok(done) => return Ok(done),
            Err(err) => {
                tracing::debug!("{name} is not to be had there: {err}");
                // A registry that answered says more than a port on which nobody speaks the next protocol.
                let is_mute = matches!(err, RegistryError::Request { .. });
                if failure.is_none() || !is_mute {
                    failure = Some(err);
                }
            }
        }
    }
    Err(failure.unwrap_or_else(|| RegistryError::NotFound(reference.familiar())))
}
