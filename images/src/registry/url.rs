//! Reading what a URL leads to, for imports.

use std::io::Read;

use super::config::RegistryConfig;
use super::error::RegistryError;
use super::http::{Call, Http};
use super::{message, text};

/// The bytes behind an HTTP or HTTPS URL, as they come.
pub fn open_url(url: &str) -> Result<impl Read + Send + use<>, RegistryError> {
    let http = Http::new(RegistryConfig::load()?);
    let response = http.send_patiently(&Call::get(url), None)?;
    let status = response.status();
    if !status.is_success() {
        let what = format!("the request for {url}");
        return Err(RegistryError::Status {
            status: status.as_u16(),
            message: message(&text(response, 64 << 10, &what).unwrap_or_default()),
            what,
        });
    }
    Ok(response.into_body().into_reader())
}
