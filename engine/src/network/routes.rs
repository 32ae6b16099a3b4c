//! The host's IPv4 routes, so that the bridge gets a subnet that nobody has.

use std::io;
use std::net::Ipv4Addr;

use crate::state::Subnet;

/// The networks to which the host has routes, the default route left out.
pub fn read() -> io::Result<Vec<Subnet>> {
    Ok(parse(&std::fs::read_to_string("/proc/net/route")?))
}

/// An interface that leads somewhere: that of the default route, else any that is in a route.
pub fn interface() -> io::Result<Option<String>> {
    Ok(of_route(&std::fs::read_to_string("/proc/net/route")?).map(str::to_owned))
}

fn of_route(text: &str) -> Option<&str> {
    let mut routes: Vec<_> = text.lines().skip(1).map(str::split_whitespace).collect();
    let is_default = |route: &std::str::SplitWhitespace| route.clone().nth(1) == Some("00000000");
    let at = routes.iter().position(is_default).unwrap_or(0);
    routes.get_mut(at)?.next()
}

/// `/proc/net/route`: in each line the destination is the second word and the mask the eighth, in hexadecimal and network byte order.
fn parse(text: &str) -> Vec<Subnet> {
    let address = |word: &str| u32::from_str_radix(word, 16).ok().map(u32::swap_bytes);
    let subnet = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (base, mask) = (address(words.get(1)?)?, address(words.get(7)?)?);
        let subnet = Subnet {
            base: Ipv4Addr::from_bits(base),
            prefix: mask.leading_ones() as u8,
        };
        (subnet.prefix > 0).then_some(subnet)
    };
    text.lines().skip(1).filter_map(subnet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                    eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                    eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    #[test]
    fn routes_are_read() {
        assert_eq!(
            parse(TEXT),
            [Subnet {
                base: Ipv4Addr::new(192, 0, 2, 0),
                prefix: 24
            }]
        );
    }

    #[test]
    fn the_default_routes_interface_goes_first() {
        let others = TEXT.replacen("Mask\t\tMTU\tWindow\tIRTT\n", "\nlan0\t000200C0\n", 1);
        assert_eq!(of_route(&others), Some("eth0"));
        assert_eq!(of_route("Iface\nlan0\t000200C0\n"), Some("lan0"));
        assert_eq!(of_route("Iface\n"), None);
    }
}
