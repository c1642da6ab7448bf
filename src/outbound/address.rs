//! Classification of IP addresses: public, private or a cloud's metadata service.
//!
//! This file knows no rules: see [`rules`](super::rules) for what an operator allows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kinds of addresses that the egress rules distinguish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// A globally reachable unicast address.
    Public,
    /// Any other address: loopback, private, link-local, reserved, tunnelled and so on.
    Private,
    /// A metadata service, which hands out a cloud machine's credentials to anyone who asks.
    Metadata,
}

/// Metadata services: AWS, GCP, Azure and others share the first; then ECS tasks, EKS pods,
/// Alibaba, Oracle, and Azure's wire server, which sits in public address space.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Metadata services over IPv6: EC2, EKS pods, GCP.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Classifies `ip`.
pub(super) fn place(ip: IpAddr) -> Place {
    match ip.to_canonical() {
        IpAddr::V4(ip) => place_v4(ip),
        IpAddr::V6(ip) => place_v6(ip),
    }
}

fn place_v4(ip: Ipv4Addr) -> Place {
    if METADATA_V4.contains(&ip) {
        return Place::Metadata;
    }
    let [a, b, c, _] = ip.octets();
    let reserved = matches!(
        (a, b, c),
        (0 | 10 | 127, ..)                // this network, private, loopback
            | (100, 64..=127, _)          // carrier-grade NAT
            | (169, 254, _)               // link-local
            | (172, 16..=31, _)           // private
            | (192, 0, 0 | 2)             // protocol assignments, documentation
            | (192, 88, 99)               // 6to4 relays
            | (192, 168, _)               // private
            | (198, 18 | 19, _)           // benchmarks
            | (198, 51, 100)              // documentation
            | (203, 0, 113)               // documentation
            | (224..=255, ..) // multicast, reserved, broadcast
    );
    if reserved {
        Place::Private
    } else {
        Place::Public
    }
}

fn place_v6(ip: Ipv6Addr) -> Place {
    if METADATA_V6.contains(&ip) {
        return Place::Metadata;
    }
    let s = ip.segments();
    // NAT64's well-known prefix (RFC 6052): DNS64 networks reach every IPv4 host through it, so the
    // embedded address decides. Other ways to wrap an IPv4 address are outside 2000::/3 or listed
    // below: no server needs them.
    if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = ip.octets();
        return place_v4(Ipv4Addr::new(a, b, c, d));
    }
    let global_unicast = s[0] & 0xe000 == 0x2000;
    let special = matches!(
        (s[0], s[1]),
        (0x2001, 0..=0x1ff)       // protocol assignments: Teredo, benchmarks, ORCHID
            | (0x2001, 0xdb8)     // documentation
            | (0x2002, _)         // 6to4
            | (0x3fff, 0..=0xfff) // documentation
    );
    if global_unicast && !special {
        Place::Public
    } else {
        Place::Private
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(text: &str) -> Place {
        place(text.parse().expect("an address"))
    }

    #[test]
    fn ordinary_addresses_are_public() {
        for ip in [
            "8.8.8.8",
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert_eq!(place_of(ip), Place::Public, "{ip}");
        }
    }

    #[test]
    fn every_other_kind_is_not() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::808:808",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::808:808",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert_eq!(place_of(ip), Place::Private, "{ip}");
        }
    }

    #[test]
    fn metadata_services_are_known_in_every_notation() {
        for ip in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
        ] {
            assert_eq!(place_of(ip), Place::Metadata, "{ip}");
        }
    }
}
