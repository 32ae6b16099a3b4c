//! Which proxy a request goes through: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, as Docker reads them.

use std::net::IpAddr;

use super::config::{is_in, name};

/// Proxies by the environment, each also in lower case.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    http: Option<String>,
    https: Option<String>,
    none: Vec<String>,
}

impl Proxies {
    pub(super) fn of_environment() -> Self {
        let variable = |name: &str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .into_iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        };
        let all = variable("ALL_PROXY");
        let none = variable("NO_PROXY").unwrap_or_default();
        Self {
            http: variable("HTTP_PROXY").or_else(|| all.clone()),
            https: variable("HTTPS_PROXY").or(all),
            none: none
                .split(',')
                .map(|entry| entry.trim().to_ascii_lowercase())
                .filter(|entry| !entry.is_empty())
                .collect(),
        }
    }

    /// The proxy for a scheme and a host with or without its port; none ever for the loopback network.
    pub(super) fn of(&self, scheme: &str, host: &str) -> Option<&str> {
        let proxy = if scheme == "https" {
            &self.https
        } else {
            &self.http
        };
        proxy.as_deref().filter(|_| !self.is_direct(host))
    }

    fn is_direct(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let own = name(&host);
        let address: Option<IpAddr> = own.trim_matches(['[', ']']).parse().ok();
        own == "localhost"
            || address.is_some_and(|address| address.is_loopback())
            || self.none.iter().any(|entry| {
                let domain = entry.trim_start_matches('*');
                entry == "*"
                    || *entry == host
                    || own == domain
                    // A domain stands for what is below it too, with a dot in front for that alone.
                    || own.strip_suffix(domain).is_some_and(|rest| domain.starts_with('.') || rest.ends_with('.'))
                    || address.is_some_and(|address| is_in(address, entry))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_has_its_proxy_and_some_hosts_have_none() {
        let proxies = Proxies {
            http: Some("http://one:1".into()),
            https: Some("http://two:2".into()),
            none: [
                "inner.test",
                ".dotted.test",
                "*.star.test",
                "ported.test:5000",
                "10.0.0.0/8",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        assert_eq!(proxies.of("http", "a.test"), Some("http://one:1"));
        assert_eq!(proxies.of("https", "a.test:5000"), Some("http://two:2"));
        for direct in [
            "localhost:5000",
            "127.0.0.2",
            "[::1]:5000",
            "inner.test:1",
            "Deep.Inner.test",
            "a.dotted.test",
            "a.star.test",
            "ported.test:5000",
            "10.1.2.3:80",
        ] {
            assert_eq!(proxies.of("https", direct), None, "{direct}");
        }
        for proxied in ["notinner.test", "dotted.test", "ported.test", "11.0.0.1"] {
            assert!(proxies.of("https", proxied).is_some(), "{proxied}");
        }
    }
}
