//! The container's own `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.

use std::net::{IpAddr, Ipv4Addr};

use rvm_agent_protocol::File;

/// Name servers for a container when the host has none that it could reach; Docker's.
const FALLBACK: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];

/// The files that every container gets, with the paths they are bound to.
pub const BOUND: [(&str, &str); 3] = [
    ("hosts", "/etc/hosts"),
    ("hostname", "/etc/hostname"),
    ("resolv.conf", "/etc/resolv.conf"),
];

/// The files' content. `address` is the container's, if it has one.
pub fn files(hostname: &str, address: Option<Ipv4Addr>, host_resolv_conf: &str) -> Vec<File> {
    let content = [
        hosts(hostname, address),
        format!("{hostname}\n"),
        resolv_conf(host_resolv_conf),
    ];
    BOUND
        .iter()
        .zip(content)
        .map(|((name, _), content)| File {
            name: (*name).to_owned(),
            content,
            mode: 0o644,
        })
        .collect()
}

fn hosts(hostname: &str, address: Option<Ipv4Addr>) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\n\
                    ff02::2\tip6-allrouters\n"
        .to_owned();
    if let Some(address) = address {
        text += &format!("{address}\t{hostname}\n");
    }
    text
}

/// The host's name servers without those on its loopback, which a guest can't reach, and without IPv6 ones, for which it has no route.
fn resolv_conf(host: &str) -> String {
    let mut text = String::new();
    let mut servers = 0;
    for line in host.lines().map(str::trim) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                if let Some(Ok(IpAddr::V4(address))) = words.next().map(str::parse)
                    && !address.is_loopback()
                {
                    text += &format!("nameserver {address}\n");
                    servers += 1;
                }
            }
            Some("search" | "domain" | "options") => text += &format!("{line}\n"),
            _ => {}
        }
    }
    if servers == 0 {
        text.extend(FALLBACK.map(|address| format!("nameserver {address}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_name_servers_are_left_out() {
        let host = "# c\nnameserver 127.0.0.53\nnameserver 10.1.1.1\nnameserver fd00::1\nsearch a.b c\noptions edns0\n";
        assert_eq!(
            resolv_conf(host),
            "nameserver 10.1.1.1\nsearch a.b c\noptions edns0\n"
        );
        assert_eq!(
            resolv_conf("nameserver 127.0.0.1\n"),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        );
    }

    #[test]
    fn a_container_finds_itself() {
        assert!(hosts("web", Some(Ipv4Addr::new(172, 31, 0, 2))).ends_with("172.31.0.2\tweb\n"));
        assert!(!hosts("web", None).contains("web"));
    }
}
