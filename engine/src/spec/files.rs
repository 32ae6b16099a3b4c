//! The container's own `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.

use std::net::{IpAddr, Ipv4Addr};

use rvm_agent_protocol::File;

use crate::options::guest::GuestOptions;

/// Name servers for a container when the host has none that it could reach; Docker's.
const FALLBACK: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];

/// The files that every container gets, with the paths they are bound to.
pub const BOUND: [(&str, &str); 3] = [
    ("hosts", "/etc/hosts"),
    ("hostname", "/etc/hostname"),
    ("resolv.conf", "/etc/resolv.conf"),
];

/// The names of the files.
pub fn names() -> Vec<String> {
    BOUND.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// The files' content. `endpoint` is the container's address and its gateway, if it has a network.
pub fn files(
    hostname: &str,
    options: &GuestOptions,
    endpoint: Option<(Ipv4Addr, Ipv4Addr)>,
    host_resolv_conf: &str,
) -> Vec<File> {
    let content = [
        hosts(hostname, options, endpoint),
        format!("{hostname}\n"),
        resolv_conf(host_resolv_conf, options),
    ];
    BOUND
        .iter()
        .zip(content)
        .map(|((name, _), content)| File {
            name: (*name).to_owned(),
            content,
        })
        .collect()
}

fn hosts(hostname: &str, options: &GuestOptions, endpoint: Option<(Ipv4Addr, Ipv4Addr)>) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\n\
                    ff02::2\tip6-allrouters\n"
        .to_owned();
    for host in &options.extra_hosts {
        // Without a network there is no way to the host.
        let gateway = endpoint.map(|(_, gateway)| IpAddr::from(gateway));
        if let Some(address) = host.address.or(gateway) {
            text += &format!("{address}\t{}\n", host.name);
        }
    }
    if let Some((address, _)) = endpoint {
        match &options.domainname {
            Some(domain) => text += &format!("{address}\t{hostname}.{domain} {hostname}\n"),
            None => text += &format!("{address}\t{hostname}\n"),
        }
    }
    text
}

/// What the options say; for what they don't speak of, the host's. Of the host's name servers those on its loopback are left out,
/// which a guest can't reach, and IPv6 ones, for which it has no route.
fn resolv_conf(host: &str, options: &GuestOptions) -> String {
    let mut servers: Vec<String> = options.dns.iter().map(IpAddr::to_string).collect();
    let mut rest = String::new();
    for line in host.lines().map(str::trim) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") if options.dns.is_empty() => {
                if let Some(Ok(IpAddr::V4(address))) = words.next().map(str::parse)
                    && !address.is_loopback()
                {
                    servers.push(address.to_string());
                }
            }
            Some("search" | "domain") if options.dns_search.is_empty() => {
                rest += &format!("{line}\n");
            }
            Some("options") if options.dns_options.is_empty() => rest += &format!("{line}\n"),
            _ => {}
        }
    }
    if servers.is_empty() {
        servers.extend(FALLBACK.iter().map(Ipv4Addr::to_string));
    }
    // A dot alone takes the host's domains away and names none.
    if !options.dns_search.is_empty() && options.dns_search != ["."] {
        rest += &format!("search {}\n", options.dns_search.join(" "));
    }
    if !options.dns_options.is_empty() {
        rest += &format!("options {}\n", options.dns_options.join(" "));
    }
    let mut text: String = servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect();
    text += &rest;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_name_servers_are_left_out() {
        let host = "# c\nnameserver 127.0.0.53\nnameserver 10.1.1.1\nnameserver fd00::1\nsearch a.b c\noptions edns0\n";
        let none = GuestOptions::default();
        assert_eq!(
            resolv_conf(host, &none),
            "nameserver 10.1.1.1\nsearch a.b c\noptions edns0\n"
        );
        assert_eq!(
            resolv_conf("nameserver 127.0.0.1\n", &none),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        );
    }

    #[test]
    fn what_is_asked_for_replaces_the_hosts() {
        let host = "nameserver 10.1.1.1\nsearch a.b\noptions edns0\n";
        let mut options = GuestOptions {
            dns: vec![IpAddr::from([1, 1, 1, 1])],
            dns_search: vec!["x.y".into(), "z".into()],
            dns_options: vec!["ndots:2".into()],
            ..GuestOptions::default()
        };
        assert_eq!(
            resolv_conf(host, &options),
            "nameserver 1.1.1.1\nsearch x.y z\noptions ndots:2\n"
        );
        options.dns_search = vec![".".into()];
        assert!(!resolv_conf(host, &options).contains("search"));
    }

    #[test]
    fn a_container_finds_itself_and_those_that_are_added() {
        let endpoint = Some((Ipv4Addr::new(172, 31, 0, 2), Ipv4Addr::new(172, 31, 0, 1)));
        let mut options = GuestOptions::default();
        assert!(hosts("web", &options, endpoint).ends_with("172.31.0.2\tweb\n"));
        assert!(!hosts("web", &options, None).contains("web"));
        options.domainname = Some("example.com".into());
        options.extra_hosts = ["db:10.0.0.9", "host:host-gateway"]
            .map(|text| text.parse().expect(text))
            .to_vec();
        assert!(
            hosts("web", &options, endpoint)
                .ends_with("10.0.0.9\tdb\n172.31.0.1\thost\n172.31.0.2\tweb.example.com web\n")
        );
    }
}
