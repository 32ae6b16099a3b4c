//! The requests of the distribution specification for one repository.

use std::sync::Mutex;

use ureq::Body;
use ureq::http::{Method, Response};

use super::auth::{self, percent};
use super::config::Endpoint;
use super::credentials::Credentials;
use super::error::RegistryError;
use super::http::{Call, Http, Payload, Upload, header, host, join};
use super::{message, text};
use crate::blobs::MAX_JSON;
use crate::digest::Digest;

/// All kinds of manifests that are understood.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// Tags that a listing may have.
const MAX_TAGS: usize = 100_000;

/// A repository at one endpoint.
pub(super) struct Client<'a> {
    http: &'a Http,
    endpoint: Endpoint,
    path: String,
    /// As the user knows the repository.
    name: String,
    scope: String,
    credentials: Option<Credentials>,
    authorization: Mutex<Option<String>>,
}

/// How often a token may turn out to be too old for one request.
const RENEWALS: usize = 3;

/// With how much patience a request is sent.
type Send = fn(&Http, &Call<'_>, Option<&str>) -> Result<Response<Body>, RegistryError>;

/// A manifest as it came.
pub(super) struct Manifest {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) media_type: String,
}

impl<'a> Client<'a> {
    /// `scope` is what a token has to give the right to.
    pub(super) fn new(
        http: &'a Http,
        endpoint: Endpoint,
        path: &str,
        name: &str,
        scope: String,
        credentials: Option<Credentials>,
    ) -> Self {
        Self {
            http,
            endpoint,
            path: path.to_owned(),
            name: name.to_owned(),
            scope,
            credentials,
            authorization: Mutex::new(None),
        }
    }

    /// The manifest of a tag or a digest.
    pub(super) fn manifest(&self, reference: &str) -> Result<Manifest, RegistryError> {
        let what = || format!("the request for the manifest {reference} of {}", self.name);
        let call = Call::get(self.url(&format!("manifests/{reference}"))).header("accept", ACCEPT);
        let response = self.call(&call)?;
        let response = match response.status().as_u16() {
            404 => {
                return Err(RegistryError::NotFound(format!(
                    "{}:{reference}",
                    self.name
                )));
            }
            _ => self.successful(response, &what())?,
        };
        let media_type = header(response.headers(), "content-type").unwrap_or_default();
        let media_type = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        let announced = header(response.headers(), "docker-content-digest")
            .and_then(|digest| digest.parse::<Digest>().ok());
        let bytes = text(response, MAX_JSON, &what())?;
        let found = Digest::of(&bytes);
        // What was asked for by digest has to be that, whatever the registry announces.
        match reference.parse().ok().or(announced) {
            Some(expected) if expected != found => Err(RegistryError::Digest { expected, found }),
            _ => Ok(Manifest {
                bytes,
                digest: found,
                media_type,
            }),
        }
    }

    /// A blob from byte `from` on; the answer may nevertheless begin at its first.
    pub(super) fn blob(&self, digest: &Digest, from: u64) -> Result<Response<Body>, RegistryError> {
        let mut call = Call::get(self.url(&format!("blobs/{digest}")));
        if from > 0 {
            call = call.header("range", format!("bytes={from}-"));
        }
        self.call(&call)
    }

    /// A blob that is a document.
    pub(super) fn json(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, RegistryError> {
        let what = format!("the request for {digest}");
        let response = self.blob(digest, 0)?;
        let response = self.successful(response, &what)?;
        let bytes = text(response, size.min(MAX_JSON), &what)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(RegistryError::Digest {
                expected: *digest,
                found,
            });
        }
        Ok(bytes)
    }

    /// Whether the repository has a blob.
    pub(super) fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let call = Call::new(Method::HEAD, self.url(&format!("blobs/{digest}")));
        let response = self.call(&call)?;
        match response.status().as_u16() {
            404 => Ok(false),
            _ => self
                .successful(response, &format!("the question for {digest}"))
                .map(|_| true),
        }
    }

    /// Sends a blob in one request, unless the registry finds it in the repository `from` of its own.
    pub(super) fn upload(
        &self,
        digest: &Digest,
        upload: Upload<'_>,
        from: Option<&str>,
    ) -> Result<(), RegistryError> {
        let what = format!("the upload of {digest}");
        let mount = from.map_or(String::new(), |from| {
            format!("?mount={digest}&from={}", percent(from))
        });
        let start = Call::new(Method::POST, self.url(&format!("blobs/uploads/{mount}")));
        let response = self.call(&start.header("content-length", "0"))?;
        if from.is_some() && response.status().is_client_error() {
            // Who may not read there may still write here.
            return self.upload(digest, upload, None);
        }
        let response = self.successful(response, &what)?;
        if response.status().as_u16() == 201 {
            return Ok(());
        }
        let bad = |why: &str| RegistryError::Answer {
            what: what.clone(),
            why: why.to_owned(),
        };
        let location =
            header(response.headers(), "location").ok_or_else(|| bad("no place to send it to"))?;
        let url =
            join(&self.url(""), location).ok_or_else(|| bad("no HTTP place to send it to"))?;
        if self.endpoint.base.starts_with("https:") && !url.starts_with("https:") {
            return Err(RegistryError::Downgrade(url));
        }
        let joiner = if url.contains('?') { '&' } else { '?' };
        let call = Call::new(Method::PUT, format!("{url}{joiner}digest={digest}"))
            .header("content-type", "application/octet-stream")
            .payload(Payload::File(upload));
        let response = self.call_once(&call)?;
        self.successful(response, &what).map(drop)
    }

    /// Gives a manifest a tag.
    pub(super) fn put_manifest(
        &self,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let call = Call::new(Method::PUT, self.url(&format!("manifests/{tag}")))
            .header("content-type", media_type)
            .payload(Payload::Bytes(bytes));
        let response = self.call(&call)?;
        let response = self.successful(response, &format!("the upload of the manifest {tag}"))?;
        let stored =
            header(response.headers(), "docker-content-digest").and_then(|text| text.parse().ok());
        let expected = Digest::of(bytes);
        match stored {
            Some(found) if found != expected => Err(RegistryError::Digest { expected, found }),
            _ => Ok(()),
        }
    }

    /// All tags.
    pub(super) fn tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Tags {
            tags: Option<Vec<String>>,
        }
        let what = format!("the request for the tags of {}", self.name);
        let mut url = self.url("tags/list");
        let mut all = Vec::new();
        loop {
            let response = self.call(&Call::get(&url))?;
            let response = match response.status().as_u16() {
                404 => return Err(RegistryError::NotFound(self.name.clone())),
                _ => self.successful(response, &what)?,
            };
            let next = next_page(response.headers()).and_then(|link| join(&url, &link));
            let json = text(response, MAX_JSON, &what)?;
            let tags: Tags =
                serde_json::from_slice(&json).map_err(|err| RegistryError::Answer {
                    what: what.clone(),
                    why: err.to_string(),
                })?;
            let tags = tags.tags.unwrap_or_default();
            let is_last = tags.is_empty();
            all.extend(tags);
            match next {
                Some(next) if !is_last && all.len() < MAX_TAGS && host(&next) == host(&url) => {
                    url = next
                }
                _ => return Ok(all),
            }
        }
    }

    /// Sends a request, with a new token when the registry wants one.
    pub(super) fn call(&self, call: &Call<'_>) -> Result<Response<Body>, RegistryError> {
        self.authorized(call, Http::send_patiently)
    }

    /// The same for a request that is not to be repeated as it is.
    fn call_once(&self, call: &Call<'_>) -> Result<Response<Body>, RegistryError> {
        self.authorized(call, Http::send)
    }

    fn authorized(&self, call: &Call<'_>, send: Send) -> Result<Response<Body>, RegistryError> {
        let is_own = call.url.starts_with(&format!("{}/", self.endpoint.base));
        let mut used = self.authorization().filter(|_| is_own);
        let mut response = send(self.http, call, used.as_deref())?;
        for _ in 0..RENEWALS {
            if response.status().as_u16() != 401 || !is_own {
                break;
            }
            // Another thread may have got one in the meantime.
            let mut new = self.authorization();
            if new == used {
                new = auth::answer(
                    self.http,
                    &self.endpoint.base,
                    &auth::challenges(response.headers()),
                    &self.scope,
                    self.credentials.as_ref(),
                )?;
                if let Ok(mut kept) = self.authorization.lock() {
                    kept.clone_from(&new);
                }
                if new == used {
                    break;
                }
            }
            response = send(self.http, call, new.as_deref())?;
            used = new;
        }
        Ok(response)
    }

    fn authorization(&self) -> Option<String> {
        self.authorization.lock().ok().and_then(|kept| kept.clone())
    }

    /// The answer, if it stands for success.
    pub(super) fn successful(
        &self,
        response: Response<Body>,
        what: &str,
    ) -> Result<Response<Body>, RegistryError> {
        let status = response.status();
        match status.as_u16() {
            _ if status.is_success() => Ok(response),
            401 | 403 if self.scope.contains(":pull,push") => {
                Err(RegistryError::PushDenied(self.name.clone()))
            }
            401 | 403 => Err(RegistryError::Denied(self.name.clone())),
            code => Err(RegistryError::Status {
                what: what.to_owned(),
                status: code,
                message: message(&text(response, 64 << 10, what).unwrap_or_default()),
            }),
        }
    }

    /// Below the repository.
    pub(super) fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.endpoint.base, self.path)
    }
}

/// The URL in `Link: <…>; rel="next"` (RFC 5988).
pub(super) fn next_page(headers: &ureq::http::HeaderMap) -> Option<String> {
    let link = header(headers, "link")?;
    let (url, relation) = link.trim().strip_prefix('<')?.split_once('>')?;
    relation.contains("next").then(|| url.to_owned())
}
