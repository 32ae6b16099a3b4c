//! The host's IPv4 routes, so that the bridge gets a subnet that nobody has.

use std::io;
use std::net::Ipv4Addr;

use crate::state::Subnet;

/// The networks to which the host has routes, the default route left out.
pub fn read() -> io::Result<Vec<Subnet>> {
    Ok(parse(&std::fs::read_to_string("/proc/net/route")?))
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

    #[test]
    fn routes_are_read() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                    eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                    eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(
            parse(text),
            [Subnet {
                base: Ipv4Addr::new(192, 0, 2, 0),
                prefix: 24
            }]
        );
    }
}
