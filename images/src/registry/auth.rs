//! How a registry wants to know who asks: `WWW-Authenticate`, and the tokens of distribution's token service.

use serde::Deserialize;
use ureq::http::Method;

use super::credentials::Credentials;
use super::error::RegistryError;
use super::http::{Call, Http, Payload, header};
use super::text;

/// A token is a few kilobytes at most.
const MAX_ANSWER: u64 = 1 << 20;

/// One challenge (RFC 9110, 11.6.1).
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// What to put in the header `Authorization` after a registry's refusal.
pub(super) fn answer(
    http: &Http,
    base: &str,
    challenges: &[String],
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<Option<String>, RegistryError> {
    let host = super::http::host(base);
    let parsed: Vec<Challenge> = challenges.iter().flat_map(|text| parse(text)).collect();
    if let Some(bearer) = parsed.iter().find(|challenge| challenge.scheme == "bearer") {
        return token(http, base, bearer, scope, credentials).map(Some);
    }
    if parsed.iter().any(|challenge| challenge.scheme == "basic") {
        return Ok(credentials.map(Credentials::basic));
    }
    Err(RegistryError::Challenge {
        host: host.to_owned(),
        challenge: challenges.join(", ").escape_debug().take(200).collect(),
    })
}

fn token(
    http: &Http,
    base: &str,
    challenge: &Challenge,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<String, RegistryError> {
    let host = super::http::host(base);
    let parameter = |name: &str| {
        let mut all = challenge.parameters.iter();
        all.find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    };
    let realm = parameter("realm").unwrap_or_default();
    let is_https = realm.starts_with("https://");
    if !is_https && !realm.starts_with("http://") {
        return Err(RegistryError::Challenge {
            host: host.to_owned(),
            challenge: format!("a realm that is no URL: {}", realm.escape_debug()),
        });
    }
    if !is_https && base.starts_with("https://") && credentials.is_some() {
        return Err(RegistryError::Realm {
            host: host.to_owned(),
            realm: realm.escape_debug().to_string(),
        });
    }
    let scope = if scope.is_empty() {
        parameter("scope").unwrap_or_default()
    } else {
        scope
    };
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend(parameter("service").map(|service| ("service", service)));
    let response = match credentials {
        // An identity token buys an access token by OAuth 2 (RFC 6749, 6), where one scope holds them all.
        Some(credentials) if credentials.is_token() => {
            query.extend(Some(("scope", scope)).filter(|(_, scope)| !scope.is_empty()));
            query.push(("grant_type", "refresh_token"));
            query.push(("client_id", "rvm"));
            query.push(("refresh_token", &credentials.secret));
            let form = encode(&query);
            let call = Call::new(Method::POST, realm)
                .header("content-type", "application/x-www-form-urlencoded")
                .payload(Payload::Bytes(form.as_bytes()));
            http.send_patiently(&call, None)?
        }
        _ => {
            query.extend(scope.split_whitespace().map(|scope| ("scope", scope)));
            if let Some(credentials) = credentials {
                query.push(("account", &credentials.user));
            }
            let joiner = if realm.contains('?') { '&' } else { '?' };
            let call = Call::get(format!("{realm}{joiner}{}", encode(&query)));
            http.send_patiently(&call, credentials.map(Credentials::basic).as_deref())?
        }
    };
    let status = response.status();
    if matches!(status.as_u16(), 401 | 403) {
        return Err(RegistryError::Unauthorized(host.to_owned()));
    }
    let what = || format!("the request for a token at {}", super::http::host(realm));
    let json = text(response, MAX_ANSWER, &what())?;
    if !status.is_success() {
        return Err(RegistryError::Status {
            what: what(),
            status: status.as_u16(),
            message: super::message(&json),
        });
    }
    let bad = |why: String| RegistryError::Answer { what: what(), why };
    let token: Token = serde_json::from_slice(&json).map_err(|err| bad(err.to_string()))?;
    let token = if token.token.is_empty() {
        token.access_token
    } else {
        token.token
    };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad("there is no token in it".to_owned()));
    }
    Ok(format!("Bearer {token}"))
}

/// All challenges of an answer's headers.
pub(super) fn challenges(headers: &ureq::http::HeaderMap) -> Vec<String> {
    let all = headers.get_all("www-authenticate").iter();
    let texts: Vec<String> = all
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect();
    if texts.is_empty() {
        return header(headers, "www-authenticate")
            .map(str::to_owned)
            .into_iter()
            .collect();
    }
    texts
}

/// The challenges in one header: `Bearer realm="…",service="…", Basic realm="…"`.
fn parse(text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start_matches(' ');
        if let (Some(value), Some(challenge)) = (after.strip_prefix('='), challenges.last_mut()) {
            let (value, left) = parameter(value);
            challenge
                .parameters
                .push((word.to_ascii_lowercase(), value));
            rest = left;
        } else {
            if !word.is_empty() {
                challenges.push(Challenge {
                    scheme: word.to_ascii_lowercase(),
                    parameters: Vec::new(),
                });
            }
            rest = after.strip_prefix('=').unwrap_or(after);
        }
        rest = rest.trim_start_matches([',', ' ']);
    }
    challenges
}

/// A parameter's value, quoted or not, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, character)| character)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn encode(query: &[(&str, &str)]) -> String {
    let pairs = query
        .iter()
        .map(|(name, value)| format!("{name}={}", percent(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// A value for a query, with what has a meaning in one escaped.
pub(super) fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            out.push(byte.into());
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_their_quotes() {
        let read = parse(
            r#"Bearer realm="https://a/t?x=1,2",service=reg, scope="r:a\"b:pull" , Basic realm="R""#,
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read.len(), 2, "{read:?}");
        assert_eq!(read[0].scheme, "bearer");
        assert_eq!(
            read[0].parameters,
            [
                pair("realm", "https://a/t?x=1,2"),
                pair("service", "reg"),
                pair("scope", "r:a\"b:pull")
            ]
        );
        assert_eq!(read[1].scheme, "basic");
    }

    #[test]
    fn no_header_makes_the_parser_hang() {
        for text in [
            "",
            "=",
            ",,,",
            "a=b",
            "Bearer",
            "Bearer =",
            "Bearer realm=\"",
            "Basic realm=a b",
        ] {
            parse(text);
        }
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(
            encode(&[("scope", "repository:a/b:pull,push"), ("x", "a b&c")]),
            "scope=repository:a/b:pull%2Cpush&x=a%20b%26c"
        );
    }
}
