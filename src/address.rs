//! Where the box may not connect (webhooks.md, "Where it may connect"; promise 16). Pure: it
//! judges an address, `deliver` resolves and dials.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::Host;

/// IPv4 networks that are private, reserved, or lead to a cloud's metadata.
const FORBIDDEN_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// IPv6 networks that are private or reserved. Forms that carry an IPv4 address are judged by it.
const FORBIDDEN_V6: [(Ipv6Addr, u8); 10] = [
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 8),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 9),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// Whether `address` may be dialled, given the networks that the operator allowed.
pub fn may_dial(address: IpAddr, allowed: &[IpNet]) -> bool {
    let inner = match address {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => embedded_v4(v6).map_or(address, IpAddr::V4),
    };
    let is_allowed = allowed
        .iter()
        .any(|net| net.contains(&address) || net.contains(&inner));
    is_allowed || !is_forbidden(inner)
}

/// The flag that would let the box dial `address`, for the refusal to name.
pub fn allowing_flag(address: IpAddr) -> String {
    format!("--allow-target {}", IpNet::from(address.to_canonical()))
}

/// The address that a URL's host already says, without asking a resolver: an IP literal in any of
/// the spellings that the URL standard folds into one, or a name of this machine itself.
pub fn literal(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            (name == "localhost" || name.ends_with(".localhost"))
                .then_some(Ipv4Addr::LOCALHOST.into())
        }
    }
}

fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => FORBIDDEN_V4.iter().any(|(net, len)| {
            shares_prefix(
                u128::from(v4.to_bits()) << 96,
                u128::from(net.to_bits()) << 96,
                *len,
            )
        }),
        IpAddr::V6(v6) => FORBIDDEN_V6
            .iter()
            .any(|(net, len)| shares_prefix(v6.to_bits(), net.to_bits(), *len)),
    }
}

fn shares_prefix(a: u128, b: u128, len: u8) -> bool {
    (a ^ b).leading_zeros() >= u32::from(len)
}

/// The IPv4 address inside a mapped (`::ffff:0:0/96`), NAT64 (`64:ff9b::/96`) or 6to4
/// (`2002::/16`) address: traffic to these ends up there.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(join(g, h)),
        (0x2002, high, low, ..) => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dials(address: &str) -> bool {
        may_dial(address.parse().unwrap(), &[])
    }

    #[test]
    fn private_and_reserved_addresses_are_refused_in_every_spelling() {
        for forbidden in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
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
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!dials(forbidden), "{forbidden}");
        }
    }

    /// The list of webhooks.md, word for word, without the forms that are judged by the IPv4 inside.
    const LISTED: [&str; 27] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",
        "::/8",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ];

    /// The address before or after one, if there is any.
    fn beside(address: IpAddr, step: i128) -> Option<IpAddr> {
        match address {
            IpAddr::V4(v4) => {
                let bits = i128::from(v4.to_bits()) + step;
                Some(Ipv4Addr::from_bits(u32::try_from(bits).ok()?).into())
            }
            IpAddr::V6(v6) => {
                let bits = if step < 0 {
                    v6.to_bits().checked_sub(1)
                } else {
                    v6.to_bits().checked_add(1)
                };
                Some(Ipv6Addr::from_bits(bits?).into())
            }
        }
    }

    #[test]
    fn every_listed_range_ends_where_it_says() {
        let listed = LISTED.map(|net| net.parse::<IpNet>().unwrap());
        for net in listed {
            let (first, last) = (net.network(), net.broadcast());
            for inside in [first, last] {
                assert!(!may_dial(inside, &[]), "{inside} of {net}");
                let plain = [IpNet::from(inside)];
                assert!(may_dial(inside, &plain), "{inside} can be opened");
            }
            let outside = [(first, -1), (last, 1)].map(|(end, step)| beside(end, step));
            for outside in outside.into_iter().flatten() {
                let is_listed = listed.iter().any(|other| other.contains(&outside));
                assert_eq!(may_dial(outside, &[]), !is_listed, "{outside} beside {net}");
            }
        }
    }

    #[test]
    fn every_listed_ipv4_range_is_refused_inside_ipv6_too() {
        for net in LISTED.map(|net| net.parse::<IpNet>().unwrap()) {
            let (IpAddr::V4(first), IpAddr::V4(last)) = (net.network(), net.broadcast()) else {
                continue;
            };
            for v4 in [first, last] {
                let bits = u128::from(v4.to_bits());
                let [high, low] = [v4.to_bits() >> 16, v4.to_bits() & 0xffff];
                for spelling in [
                    Ipv6Addr::from_bits(0xffff_0000_0000 | bits).to_string(),
                    Ipv6Addr::from_bits(bits).to_string(),
                    format!("64:ff9b::{v4}"),
                    format!("2002:{high:x}:{low:x}::"),
                    format!("2002:{high:x}:{low:x}:ffff::1"),
                ] {
                    assert!(!dials(&spelling), "{spelling} for {v4}");
                }
            }
        }
    }

    #[test]
    fn public_addresses_pass() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.128.0.1",
            "128.0.0.1",
            "168.63.129.17",
            "172.15.255.255",
            "172.32.0.1",
            "192.167.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "2a00:1450::1",
        ] {
            assert!(dials(public), "{public}");
        }
    }

    #[test]
    fn a_url_says_its_address_in_many_spellings() {
        let says = |url: &str| literal(&url::Url::parse(url).unwrap().host().unwrap());
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://017700000001/",
            "http://0x7f000001/",
            "http://0X7F.0x0.0x0.0x1/",
            "http://127.1/",
            "http://127.0.1/",
            "http://127.0.0.1./",
            "http://%31%32%37.0.0.1/",
            "http://\u{ff11}27.0.0.1/",
            "http://example.com@127.0.0.1/",
            "http://example.com:80@127.1:8080/",
            "http:\\\\127.0.0.1\\",
            "http://LOCALHOST/",
            "http://localhost/",
            "http://localhost./",
            "http://box.localhost:8080/",
        ] {
            assert_eq!(says(url), Some(Ipv4Addr::LOCALHOST.into()), "{url}");
        }
        assert_eq!(says("http://[::1]/"), Some(Ipv6Addr::LOCALHOST.into()));
        let inside = ["http://[::ffff:127.0.0.1]/", "http://[::FFFF:7f00:1]/"];
        for mapped in inside.map(says) {
            assert!(!may_dial(mapped.unwrap(), &[]));
        }
        for elsewhere in ["http://example.com/", "http://127.0.0.1@example.com/"] {
            assert_eq!(says(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_refusal_names_the_plain_address() {
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(allowing_flag(mapped), "--allow-target 10.0.0.1/32");
        assert_eq!(
            allowing_flag("::1".parse().unwrap()),
            "--allow-target ::1/128"
        );
    }

    #[test]
    fn the_operator_opens_networks() {
        let allowed: Vec<IpNet> = vec!["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        assert!(may_dial("127.0.0.1".parse().unwrap(), &allowed));
        assert!(may_dial("::ffff:127.0.0.1".parse().unwrap(), &allowed));
        assert!(may_dial("fd12::1".parse().unwrap(), &allowed));
        assert!(!may_dial("10.0.0.1".parse().unwrap(), &allowed));
        assert!(!may_dial("::1".parse().unwrap(), &allowed));
    }
}
