//! Searching Docker's registry: the one part of its first protocol that is still in use.

use serde::Deserialize;

use super::auth::percent;
use super::config::RegistryConfig;
use super::error::RegistryError;
use super::http::{Call, Http};
use super::{message, text};

const MAX_ANSWER: u64 = 4 << 20;

/// An image that was found.
#[derive(Debug, Clone, Deserialize)]
pub struct Hit {
    /// Its repository.
    pub name: String,
    /// What its owner says of it.
    #[serde(default)]
    pub description: String,
    /// How many like it.
    #[serde(default)]
    pub star_count: u64,
    /// It is one of Docker's own.
    #[serde(default)]
    pub is_official: bool,
}

/// Finds images by a word; `term` may have a registry in front.
pub fn search(term: &str, limit: usize) -> Result<Vec<Hit>, RegistryError> {
    #[derive(Deserialize)]
    struct Answer {
        results: Vec<Hit>,
    }
    let (domain, term) = match term.split_once('/') {
        Some((domain, term)) if domain.contains(['.', ':']) || domain == "localhost" => {
            (domain, term)
        }
        _ => ("index.docker.io", term),
    };
    let http = Http::new(RegistryConfig::load()?);
    let what = format!("the search for {term} at {domain}");
    let mut failure = None;
    for endpoint in http.config().endpoints(domain, false) {
        let url = format!("{}/v1/search?q={}&n={limit}", endpoint.base, percent(term));
        let answer = http.probe(&endpoint);
        let answer = answer.and_then(|()| http.send_patiently(&Call::get(url), None));
        let response = match answer {
            Ok(response) => response,
            Err(err) => {
                failure.get_or_insert(err);
                continue;
            }
        };
        let status = response.status();
        let json = text(response, MAX_ANSWER, &what)?;
        if !status.is_success() {
            return Err(RegistryError::Status {
                what,
                status: status.as_u16(),
                message: message(&json),
            });
        }
        let mut answer: Answer =
            serde_json::from_slice(&json).map_err(|err| RegistryError::Answer {
                what: what.clone(),
                why: err.to_string(),
            })?;
        for hit in &mut answer.results {
            // They are for a terminal, which must not be told what to do.
            hit.name.retain(|character| !character.is_control());
            hit.description = hit.description.replace(char::is_control, " ");
        }
        return Ok(answer.results);
    }
    failure.map_or(Ok(Vec::new()), Err)
}
