//! Trying credentials at a registry.

use super::auth;
use super::config::RegistryConfig;
use super::credentials::Credentials;
use super::error::RegistryError;
use super::http::{Call, Http};

/// Whether a registry accepts `credentials` (distribution-spec, "Determining Support").
pub fn login(domain: &str, credentials: &Credentials) -> Result<(), RegistryError> {
    let http = Http::new(RegistryConfig::load()?);
    let mut failure = None;
    for endpoint in http.config().endpoints(domain, false) {
        let call = Call::get(format!("{}/v2/", endpoint.base));
        let attempt = || {
            http.probe(&endpoint)?;
            let response = http.send_patiently(&call, None)?;
            if response.status().as_u16() != 401 {
                return Ok(response);
            }
            let challenges = auth::challenges(response.headers());
            let answer = auth::answer(&http, &endpoint.base, &challenges, "", Some(credentials))?;
            http.send_patiently(&call, answer.as_deref())
        };
        match attempt() {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) if matches!(response.status().as_u16(), 401 | 403) => {
                return Err(RegistryError::Unauthorized(domain.to_owned()));
            }
            Ok(response) => {
                failure = Some(RegistryError::Status {
                    what: format!("the request for {}", call.url),
                    status: response.status().as_u16(),
                    message: "this is not a registry".to_owned(),
                });
            }
            Err(err @ RegistryError::Request { .. }) => {
                failure.get_or_insert(err);
            }
            Err(err) => return Err(err),
        }
    }
    failure.map_or(Ok(()), Err)
}
