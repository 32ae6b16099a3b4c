//! One HTTP request: redirects, time limits, and what is tried again.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::http::{HeaderMap, Method, Request, Response, StatusCode};
use ureq::{Agent, Body, Proxy, SendBody};

use super::config::{Endpoint, RegistryConfig};
use super::error::RegistryError;
use super::proxy::Proxies;
use super::trust::{self, Trust};

/// Hops that a request may take.
const MAX_REDIRECTS: usize = 5;
/// How often a request that fails for want of a working connection or server is sent.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait that a server can ask for.
const MAX_WAIT: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(20);
/// How long a host that may speak plain HTTP has for its first answer by HTTPS.
const PROBE: Duration = Duration::from_millis(1500);
/// A connection on which nothing comes for so long is broken.
const IDLE: Duration = Duration::from_secs(60);

/// What a request carries.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    File(Upload<'a>),
}

/// A file on its way out.
#[derive(Clone, Copy)]
pub(super) struct Upload<'a> {
    pub(super) file: &'a File,
    /// Bytes in all.
    pub(super) size: u64,
    /// Told how many bytes of it are gone.
    pub(super) sent: &'a (dyn Fn(u64) + Sync),
}

impl Payload<'_> {
    fn size(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(upload) => Some(upload.size),
        }
    }
}

/// A request without what proves who sends it.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) payload: Payload<'a>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            payload: Payload::None,
        }
    }

    pub(super) fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn payload(mut self, payload: Payload<'a>) -> Self {
        self.payload = payload;
        self
    }
}

/// Sends requests.
pub(super) struct Http {
    config: RegistryConfig,
    proxies: Proxies,
    /// With their connections, which are used again.
    agents: Mutex<HashMap<(Trust, Option<String>), Agent>>,
}

impl Http {
    pub(super) fn new(config: RegistryConfig) -> Self {
        Self {
            config,
            proxies: Proxies::of_environment(),
            agents: Mutex::default(),
        }
    }

    pub(super) fn config(&self) -> &RegistryConfig {
        &self.config
    }

    /// Whether anything is to be had at `endpoint`: asked, once and briefly, of those alone that have another
    /// protocol to fall back on. A server of plain HTTP may wait for the end of what it takes for a request.
    pub(super) fn probe(&self, endpoint: &Endpoint) -> Result<(), RegistryError> {
        if !endpoint.tentative {
            return Ok(());
        }
        let url = format!("{}/v2/", endpoint.base);
        let failed = |source| RegistryError::Request {
            url: url.clone(),
            source: Box::new(source),
        };
        let agent = self.agent(&url).map_err(failed)?;
        let request = agent.get(&url).config().timeout_global(Some(PROBE)).build();
        request.call().map(drop).map_err(failed)
    }

    /// Sends a request, follows where it leads, and returns the answer whatever its status.
    ///
    /// `authorization` goes to the first host alone; no redirect leads from HTTPS to HTTP.
    pub(super) fn send(
        &self,
        call: &Call<'_>,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, RegistryError> {
        let mut url = call.url.clone();
        let follows = matches!(call.method, Method::GET | Method::HEAD);
        for _ in 0..=MAX_REDIRECTS {
            let own = origin(&url) == origin(&call.url);
            let response = self.send_once(call, &url, authorization.filter(|_| own))?;
            let location = header(response.headers(), "location");
            let Some(location) = location.filter(|_| follows && response.status().is_redirection())
            else {
                return Ok(response);
            };
            let next = join(&url, location).ok_or_else(|| RegistryError::Redirect(url.clone()))?;
            if url.starts_with("https:") && !next.starts_with("https:") {
                return Err(RegistryError::Downgrade(next));
            }
            url = next;
        }
        Err(RegistryError::Redirect(call.url.clone()))
    }

    /// The same, again and again while the connection or the server does not work.
    pub(super) fn send_patiently(
        &self,
        call: &Call<'_>,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, RegistryError> {
        let mut tries = 1;
        loop {
            let result = self.send(call, authorization);
            let wait = match &result {
                Ok(response) if is_temporary(response.status()) => retry_after(response.headers()),
                Err(err) if err.is_temporary() => None,
                _ => return result,
            };
            if tries == TRIES {
                return result;
            }
            tracing::debug!("request {tries} for {} failed and is tried again", call.url);
            std::thread::sleep(wait.unwrap_or_else(|| back_off(tries)));
            tries += 1;
        }
    }

    fn send_once(
        &self,
        call: &Call<'_>,
        url: &str,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, RegistryError> {
        let failed = |source| RegistryError::Request {
            url: without_query(url),
            source: Box::new(source),
        };
        let mut request = Request::builder().method(call.method.clone()).uri(url);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let size = call.payload.size();
        if let Some(size) = size {
            request = request.header("content-length", size);
        }
        let mut reader: Box<dyn Read + '_> = match call.payload {
            Payload::None => Box::new(std::io::empty()),
            Payload::Bytes(bytes) => Box::new(bytes),
            Payload::File(upload) => Box::new(FromStart { upload, at: 0 }.take(upload.size)),
        };
        let agent = self.agent(url).map_err(failed)?;
        let invalid = |err| failed(ureq::Error::Http(err));
        match size {
            None => agent.run(request.body(()).map_err(invalid)?),
            Some(_) => {
                let body = SendBody::from_reader(&mut *reader);
                agent.run(request.body(body).map_err(invalid)?)
            }
        }
        .map_err(failed)
    }

    /// What sends requests to the host of `url`, through the proxy for it.
    fn agent(&self, url: &str) -> Result<Agent, ureq::Error> {
        let host = host(url);
        let trust = if self.config.is_insecure(host) {
            Trust::Any
        } else {
            trust::of(host)
        };
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let proxy = self.proxies.of(scheme, host).map(str::to_owned);
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (trust, proxy);
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let new = agent(&key.0, key.1.as_deref())?;
        agents.insert(key, new.clone());
        Ok(new)
    }
}

fn agent(trust: &Trust, proxy: Option<&str>) -> Result<Agent, ureq::Error> {
    let agent = Agent::config_builder()
        .tls_config(trust.tls())
        .proxy(proxy.map(Proxy::new).transpose()?)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(IDLE))
        .timeout_per_read(Some(IDLE))
        .timeout_per_write(Some(IDLE))
        // A layer is sent as it is stored: nobody is to compress it once more.
        .accept_encoding("identity")
        .user_agent(concat!("rvm/", env!("CARGO_PKG_VERSION")))
        .input_buffer_size(256 << 10)
        .build()
        .new_agent();
    Ok(agent)
}

/// Reads a file from its start, whatever other readers of it do.
struct FromStart<'a> {
    upload: Upload<'a>,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = std::os::unix::fs::FileExt::read_at(self.upload.file, buf, self.at)?;
        self.at += n as u64;
        (self.upload.sent)(self.at.min(self.upload.size));
        Ok(n)
    }
}

/// The wait before try `tries` + 1: twice as long each time.
pub(super) fn back_off(tries: u32) -> Duration {
    (FIRST_WAIT * 2u32.saturating_pow(tries.saturating_sub(1))).min(MAX_WAIT)
}

fn is_temporary(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = header(headers, "retry-after")?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

/// The text of a header.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Scheme, host and port.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    &url[..end]
}

/// Host and port.
pub(super) fn host(url: &str) -> &str {
    let origin = origin(url);
    origin.split_once("://").map_or(origin, |(_, host)| host)
}

/// What can be shown: queries of redirects hold signatures.
fn without_query(url: &str) -> String {
    url.split('?').next().unwrap_or(url).to_owned()
}

/// `location` as seen from `url`; `None` when it leads to something else than HTTP.
pub(super) fn join(url: &str, location: &str) -> Option<String> {
    if location.starts_with("https://") || location.starts_with("http://") {
        return Some(location.to_owned());
    }
    if let Some(rest) = location.strip_prefix("//") {
        let (scheme, _) = url.split_once("://")?;
        return Some(format!("{scheme}://{rest}"));
    }
    if location.split(['/', '?']).next()?.contains(':') {
        return None;
    }
    if location.starts_with('/') {
        return Some(format!("{}{location}", origin(url)));
    }
    let path = url.split('?').next()?;
    if location.starts_with('?') {
        return Some(format!("{path}{location}"));
    }
    let folder = path.rfind('/').filter(|&at| at >= origin(url).len())?;
    Some(format!("{}/{location}", &path[..folder]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_joined_as_urls_are() {
        let url = "https://a.test:5000/v2/x/blobs/1?y=/z";
        for (location, joined) in [
            ("https://b.test/c", Some("https://b.test/c")),
            ("//b.test/c", Some("https://b.test/c")),
            ("/c?d=e:f", Some("https://a.test:5000/c?d=e:f")),
            ("c", Some("https://a.test:5000/v2/x/blobs/c")),
            ("?d=e:f", Some("https://a.test:5000/v2/x/blobs/1?d=e:f")),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(join(url, location).as_deref(), joined, "{location}");
        }
        assert_eq!(origin("http://a@b/c"), "http://a@b");
        assert_eq!(host("https://a.test:5000?x"), "a.test:5000");
    }

    #[test]
    fn waits_grow_and_end() {
        assert_eq!(back_off(1), FIRST_WAIT);
        assert_eq!(back_off(3), 4 * FIRST_WAIT);
        assert_eq!(back_off(40), MAX_WAIT);
    }
}
