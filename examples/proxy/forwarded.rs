//! The address of a caller behind load balancers.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header};

/// The most addresses that are read of a list: more hops than there are anywhere.
const HOPS: usize = 32;

/// Returns the address that a request comes from, as far as those tell who are trusted.
///
/// Each load balancer adds the address that it was asked from at the end of `X-Forwarded-For`, or of
/// `Forwarded` (RFC 7239). What stands before the last one that is not trusted itself was written by
/// whoever has that address, and tells nothing. Where there are both headers the first counts, since
/// load balancers that write it pass the other one on as it came.
pub fn client(headers: &HeaderMap, peer: IpAddr, is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let hops = match headers.contains_key(X_FORWARDED_FOR) {
        true => last(headers, X_FORWARDED_FOR, |node| Some(node)),
        false => last(headers, header::FORWARDED.as_str(), of_pair),
    };
    for hop in hops {
        // From here on nobody who is trusted has written it.
        let Some(hop) = hop else { break };
        client = hop;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The last addresses of a list, the last one first; `None` for one that cannot be read.
fn last(headers: &HeaderMap, name: &str, node: fn(&str) -> Option<&str>) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all(name).iter();
    let lines: Vec<_> = lines
        .map(|line| line.to_str().unwrap_or_default())
        .collect();
    let items = lines.iter().rev().flat_map(|line| line.rsplit(','));
    let items = items.take(HOPS);
    items
        .map(|item| node(item.trim()).and_then(address))
        .collect()
}

/// The node of an element such as `for="[2001:db8::1]:4711";proto=https`.
fn of_pair(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut nodes = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    nodes.next().map(|(_, node)| node.trim().trim_matches('"'))
}

/// An address with or without brackets and a port.
fn address(node: &str) -> Option<IpAddr> {
    let bare = node.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok();
    let address = address.or_else(|| node.parse::<SocketAddr>().ok().map(|node| node.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn of(peer: &str, given: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let is_trusted = |address: IpAddr| match address {
            IpAddr::V4(ip) => ip.octets()[0] == 10,
            IpAddr::V6(ip) => ip.segments()[0] == 0xfd00,
        };
        client(&headers, peer.parse().unwrap(), is_trusted).to_string()
    }

    #[test]
    fn the_last_address_that_is_not_trusted_is_the_callers() {
        const XFF: &str = "x-forwarded-for";
        const FORWARDED: &str = "forwarded";
        for (peer, given, expected) in [
            // Who is not trusted says nothing.
            ("192.0.2.1", &[(XFF, "192.0.2.9")][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[(XFF, "192.0.2.9")], "192.0.2.9"),
            (
                "10.0.0.1",
                &[(XFF, "6.6.6.6, 192.0.2.9, 10.1.1.1")],
                "192.0.2.9",
            ),
            (
                "10.0.0.1",
                &[(XFF, "6.6.6.6"), (XFF, "192.0.2.9:4711")],
                "192.0.2.9",
            ),
            ("10.0.0.1", &[(XFF, "6.6.6.6, unknown")], "10.0.0.1"),
            (
                "10.0.0.1",
                &[(XFF, "6.6.6.6, unknown, 10.2.2.2")],
                "10.2.2.2",
            ),
            ("::ffff:10.0.0.1", &[(XFF, "::ffff:192.0.2.9")], "192.0.2.9"),
            (
                "10.0.0.1",
                &[(XFF, "192.0.2.9"), (FORWARDED, "for=6.6.6.6")],
                "192.0.2.9",
            ),
            (
                "fd00::1",
                &[(
                    FORWARDED,
                    "for=6.6.6.6, For=\"[2001:db8::1]:4711\";proto=https",
                )],
                "2001:db8::1",
            ),
            (
                "10.0.0.1",
                &[(FORWARDED, "proto=https;for=192.0.2.9;by=10.0.0.1")],
                "192.0.2.9",
            ),
            ("10.0.0.1", &[(FORWARDED, "for=_hidden")], "10.0.0.1"),
        ] {
            assert_eq!(of(peer, given), expected, "{peer} {given:?}");
        }
    }
}
