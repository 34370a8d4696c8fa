//! Which addresses a webhook may have. What a customer types in must not make us talk to our own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::run::NotifierError;

/// An address that a webhook may not have. Its `Display` is for whoever made the subscription.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} ({why}) is not a public address; it is refused unless notifier.webhook.allow lists its network"
)]
pub(super) struct ForbiddenAddress {
    pub(super) address: IpAddr,
    pub(super) why: &'static str,
}

/// Says which addresses may be connected to.
#[derive(Debug, Clone, Default)]
pub(super) struct AddressPolicy {
    allow: Vec<IpNet>,
}

impl AddressPolicy {
    pub(super) fn new(allow: &[String]) -> Result<Self, NotifierError> {
        let parse = |text: &String| {
            let text = text.trim();
            let net = text
                .parse::<IpNet>()
                .or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error));
            net.map_err(|error| NotifierError::Setting {
                key: "notifier.webhook.allow",
                why: format!("{text:?} is neither a CIDR nor an address: {error}"),
            })
        };
        Ok(Self { allow: allow.iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// All of a host's addresses. One that is forbidden forbids the host: which of them would be connected to is not
    /// for the owner of a DNS zone to choose.
    pub(super) fn check_all(&self, addresses: &[IpAddr]) -> Result<(), ForbiddenAddress> {
        addresses.iter().try_for_each(|&address| self.check(address))
    }

    pub(super) fn check(&self, address: IpAddr) -> Result<(), ForbiddenAddress> {
        // An IPv4 address in IPv6 clothes is that IPv4 address, whatever list it is looked up in.
        let address = address.to_canonical();
        if self.allow.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        let why = match address {
            IpAddr::V4(v4) => forbidden_v4(v4),
            IpAddr::V6(v6) => forbidden_v6(v6),
        };
        why.map_or(Ok(()), |why| Err(ForbiddenAddress { address, why }))
    }
}

/// The special purpose ranges of RFC 6890 and its successors that are not globally reachable, or that a host of ours
/// could be in. Clusters take their ranges from the private ones.
const FORBIDDEN_V4: [(Ipv4Net, &str); 15] = [
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared by a carrier"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "for protocols"),
    (v4(192, 0, 2, 0, 24), "for documentation"),
    (v4(192, 88, 99, 0, 24), "for protocols"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "for benchmarks"),
    (v4(198, 51, 100, 0, 24), "for documentation"),
    (v4(203, 0, 113, 0, 24), "for documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// Parts of 2000::/3 that are not what they look like. All else that is not in 2000::/3 is forbidden anyway.
const FORBIDDEN_V6: [(Ipv6Net, &str); 3] = [
    // Teredo (2001::/32) hides an IPv4 address, the rest is for protocols.
    (v6(0x2001, 0, 23), "for protocols"),
    (v6(0x2001, 0x0db8, 32), "for documentation"),
    (v6(0x3fff, 0, 20), "for documentation"),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    FORBIDDEN_V4.iter().find(|(net, _)| net.contains(&address)).map(|&(_, why)| why)
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [first, second, third, ..] = address.segments();
    match (first, second, third) {
        // NAT64 (RFC 6052) and 6to4: a way to the IPv4 address within.
        (0x64, 0xff9b, 0) => forbidden_v4(last_four(address)),
        (0x2002, _, _) => {
            let ([a, b], [c, d]) = (second.to_be_bytes(), third.to_be_bytes());
            forbidden_v4(Ipv4Addr::new(a, b, c, d))
        }
        _ if address.is_unspecified() => Some("unspecified"),
        _ if address.is_loopback() => Some("loopback"),
        _ if first & 0xff00 == 0xff00 => Some("multicast"),
        _ if first & 0xffc0 == 0xfe80 => Some("link-local"),
        _ if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 => Some("private"),
        // All that is handed out for the public internet lies in 2000::/3.
        _ if first & 0xe000 != 0x2000 => Some("reserved"),
        _ => FORBIDDEN_V6.iter().find(|(net, _)| net.contains(&address)).map(|&(_, why)| why),
    }
}

fn last_four(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str]) -> AddressPolicy {
        AddressPolicy::new(&allow.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn why(policy: &AddressPolicy, address: &str) -> Option<&'static str> {
        policy.check(address.parse().unwrap()).err().map(|forbidden| forbidden.why)
    }

    /// First and last address of every range, and the neighbours just outside.
    #[test]
    fn only_public_addresses_may_be_connected_to() {
        let policy = policy(&[]);
        for (address, expected) in [
            ("0.0.0.0", Some("unspecified")),
            ("0.255.255.255", Some("unspecified")),
            ("1.0.0.0", None),
            ("9.255.255.255", None),
            ("10.0.0.0", Some("private")),
            ("10.255.255.255", Some("private")),
            ("11.0.0.0", None),
            ("100.63.255.255", None),
            ("100.64.0.0", Some("shared by a carrier")),
            ("100.127.255.255", Some("shared by a carrier")),
            ("100.128.0.0", None),
            ("126.255.255.255", None),
            ("127.0.0.1", Some("loopback")),
            ("127.255.255.255", Some("loopback")),
            ("128.0.0.0", None),
            ("169.253.255.255", None),
            ("169.254.0.0", Some("link-local")),
            ("169.254.169.254", Some("link-local")),
            ("169.254.255.255", Some("link-local")),
            ("169.255.0.0", None),
            ("172.15.255.255", None),
            ("172.16.0.0", Some("private")),
            ("172.31.255.255", Some("private")),
            ("172.32.0.0", None),
            ("191.255.255.255", None),
            ("192.0.0.0", Some("for protocols")),
            ("192.0.0.255", Some("for protocols")),
            ("192.0.1.0", None),
            ("192.0.2.0", Some("for documentation")),
            ("192.0.2.255", Some("for documentation")),
            ("192.0.3.0", None),
            ("192.88.98.255", None),
            ("192.88.99.1", Some("for protocols")),
            ("192.88.100.0", None),
            ("192.167.255.255", None),
            ("192.168.0.0", Some("private")),
            ("192.168.255.255", Some("private")),
            ("192.169.0.0", None),
            ("198.17.255.255", None),
            ("198.18.0.0", Some("for benchmarks")),
            ("198.19.255.255", Some("for benchmarks")),
            ("198.20.0.0", None),
            ("198.51.99.255", None),
            ("198.51.100.0", Some("for documentation")),
            ("198.51.100.255", Some("for documentation")),
            ("198.51.101.0", None),
            ("203.0.112.255", None),
            ("203.0.113.0", Some("for documentation")),
            ("203.0.113.255", Some("for documentation")),
            ("203.0.114.0", None),
            ("223.255.255.255", None),
            ("224.0.0.0", Some("multicast")),
            ("239.255.255.255", Some("multicast")),
            ("240.0.0.0", Some("reserved")),
            ("255.255.255.255", Some("reserved")),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::2", Some("reserved")),
            // IPv4-compatible, long abolished.
            ("::7f00:1", Some("reserved")),
            ("::808:808", Some("reserved")),
            ("100::1", Some("reserved")),
            ("1fff:ffff::", Some("reserved")),
            ("2000::1", None),
            ("2000:ffff::1", None),
            ("2001::1", Some("for protocols")),
            ("2001:1ff:ffff::1", Some("for protocols")),
            ("2001:200::1", None),
            ("2001:db7:ffff::1", None),
            ("2001:db8::1", Some("for documentation")),
            ("2001:db8:ffff::1", Some("for documentation")),
            ("2001:db9::1", None),
            ("2606:4700::6810:84e5", None),
            ("3ffe::1", None),
            ("3fff::1", Some("for documentation")),
            ("3fff:fff:ffff::1", Some("for documentation")),
            ("3fff:1000::1", None),
            ("4000::1", Some("reserved")),
            ("5f00::1", Some("reserved")),
            ("fbff::1", Some("reserved")),
            ("fc00::1", Some("private")),
            ("fdff:ffff::1", Some("private")),
            ("fe00::1", Some("reserved")),
            ("fe7f::1", Some("reserved")),
            ("fe80::1", Some("link-local")),
            ("febf::1", Some("link-local")),
            ("fec0::1", Some("private")),
            ("feff::1", Some("private")),
            ("ff02::1", Some("multicast")),
        ] {
            assert_eq!(why(&policy, address), expected, "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_what_it_is_within() {
        let policy = policy(&[]);
        for (address, expected) in [
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:10.1.2.3", Some("private")),
            ("::ffff:169.254.169.254", Some("link-local")),
            ("::ffff:8.8.8.8", None),
            ("64:ff9b::7f00:1", Some("loopback")),
            ("64:ff9b::a9fe:a9fe", Some("link-local")),
            ("64:ff9b::808:808", None),
            ("64:ff9b:1::808:808", Some("reserved")),
            ("2002:7f00:1::1", Some("loopback")),
            ("2002:a00:1::1", Some("private")),
            ("2002:808:808::1", None),
        ] {
            assert_eq!(why(&policy, address), expected, "{address}");
        }
    }

    #[test]
    fn what_is_allowed_may_be_connected_to_and_nothing_beside_it() {
        let policy = policy(&["127.0.0.0/8", "10.1.0.0/16", "192.168.7.7", "::1", " fd00::/8 "]);
        for (address, allowed) in [
            ("127.0.0.1", true),
            ("::ffff:127.9.9.9", true),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("192.168.7.7", true),
            ("192.168.7.8", false),
            ("::1", true),
            ("fd12::1", true),
            ("fc12::1", false),
            ("64:ff9b::7f00:1", false),
        ] {
            assert_eq!(why(&policy, address).is_none(), allowed, "{address}");
        }
    }

    #[test]
    fn one_forbidden_address_among_public_ones_forbids_the_host() {
        let addresses = ["8.8.8.8", "2606:4700::1", "10.0.0.7"].map(|text| text.parse().unwrap());
        let forbidden = policy(&[]).check_all(&addresses).unwrap_err();
        assert_eq!(
            forbidden.to_string(),
            "10.0.0.7 (private) is not a public address; it is refused unless notifier.webhook.allow lists its \
             network"
        );
        assert_eq!(policy(&[]).check_all(&addresses[..2]), Ok(()));
    }

    #[test]
    fn what_is_no_network_is_named() {
        let error = AddressPolicy::new(&["10.0.0.0/33".into()]).unwrap_err();
        assert!(error.to_string().contains("notifier.webhook.allow"), "{error}");
        assert!(error.to_string().contains("10.0.0.0/33"), "{error}");
    }
}
