//! Which source address and which destination address to use (RFC 6724).
//!
//! Of the outgoing interface's addresses the rules of §5 choose one, in the order they stand in; those of another interface serve where this one
//! has none that reaches as far (§4). §6 puts the addresses of a name in the order in which to try them.

use core::cmp::{Ordering, Reverse};
use core::net::{IpAddr, Ipv6Addr};

use wireway_wire::ipv6::multicast_scope;

use super::Net;
use crate::InterfaceId;
use crate::interface::Interface;

/// Scopes as of groups (RFC 6724 §3.1).
const LINK_LOCAL: u8 = 2;
const SITE_LOCAL: u8 = 5;
const GLOBAL: u8 = 14;

/// The policy table of RFC 6724 §2.1: prefix, its length, precedence and label.
const POLICIES: [(Ipv6Addr, u8, u8, u8); 9] = [
    (Ipv6Addr::LOCALHOST, 128, 50, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 35, 4),
    (Ipv6Addr::UNSPECIFIED, 96, 1, 3),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5, 5),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30, 2),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 1, 12),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 1, 11),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 3, 13),
    (Ipv6Addr::UNSPECIFIED, 0, 40, 1),
];

/// Precedence and label of an address: the table's longest match, which stands first.
fn policy(address: Ipv6Addr) -> (u8, u8) {
    let matching = |&&(prefix, len, ..): &&(Ipv6Addr, u8, u8, u8)| common_prefix(prefix, address) >= len;
    POLICIES.iter().find(matching).map_or((40, 1), |&(_, _, precedence, label)| (precedence, label))
}

/// The bits that two addresses have in common, from the first on.
fn common_prefix(a: Ipv6Addr, b: Ipv6Addr) -> u8 {
    (a.to_bits() ^ b.to_bits()).leading_zeros() as u8
}

/// An address as these rules see it: IPv4's as v4-mapped.
fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// How far an address reaches (RFC 6724 §3.1 to §3.2).
fn scope(address: Ipv6Addr) -> u8 {
    if let Some(scope) = multicast_scope(address) {
        return scope;
    }
    if let Some(v4) = address.to_ipv4_mapped() {
        return if v4.is_link_local() || v4.is_loopback() { LINK_LOCAL } else { GLOBAL };
    }
    match address.segments()[0] {
        0xfe80..=0xfebf => LINK_LOCAL,
        0xfec0..=0xfeff => SITE_LOCAL,
        _ if address.is_loopback() => LINK_LOCAL,
        _ => GLOBAL,
    }
}

/// A candidate source address.
#[derive(Clone, Copy)]
struct Candidate {
    address: Ipv6Addr,
    prefix_len: u8,
    deprecated: bool,
    temporary: bool,
    /// It is one of the outgoing interface's.
    outgoing: bool,
}

impl Candidate {
    /// Whether this is the better source for `destination` (§5): `Greater` if so.
    fn compare(&self, other: &Candidate, destination: Ipv6Addr, prefer_temporary: bool) -> Ordering {
        let wanted = scope(destination);
        let label = policy(destination).1;
        let reach = |c: &Candidate| scope(c.address);
        // Rule 8 looks at no more than the source's prefix (§2.2).
        let common = |c: &Candidate| common_prefix(c.address, destination).min(c.prefix_len);
        let by_scope = match reach(self).cmp(&reach(other)) {
            Ordering::Equal => Ordering::Equal,
            // Rule 2: of two scopes the smaller that still reaches.
            Ordering::Less if reach(self) < wanted => Ordering::Less,
            Ordering::Less => Ordering::Greater,
            Ordering::Greater if reach(other) < wanted => Ordering::Greater,
            Ordering::Greater => Ordering::Less,
        };
        // Rule 1.
        (self.address == destination)
            .cmp(&(other.address == destination))
            .then(by_scope)
            // Rule 3.
            .then(other.deprecated.cmp(&self.deprecated))
            // Rule 5.
            .then(self.outgoing.cmp(&other.outgoing))
            // Rule 6.
            .then((policy(self.address).1 == label).cmp(&(policy(other.address).1 == label)))
            // Rule 7.
            .then((self.temporary == prefer_temporary).cmp(&(other.temporary == prefer_temporary)))
            .then(common(self).cmp(&common(other)))
    }
}

impl Net {
    /// The source address of what goes to `destination` by `interface` (RFC 6724 §5).
    pub(super) fn select_source(&self, interface: InterfaceId, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let of = |at: &Interface, outgoing| -> Vec<Candidate> {
            let usable = at.addresses.iter().filter_map(|cidr| match cidr.address {
                IpAddr::V6(address) => Some((address, cidr.prefix_len)),
                IpAddr::V4(_) => None,
            });
            usable
                .map(|(address, prefix_len)| Candidate {
                    address,
                    prefix_len,
                    deprecated: at.is_deprecated(address.into()),
                    temporary: at.slaac.is_temporary(address),
                    outgoing,
                })
                .collect()
        };
        let mut candidates = of(self.interface(interface)?, true);
        // §4: for groups, and for what is of the link, only the link's own; else another interface's may serve, if it is no link-local one.
        let wide = scope(destination) > LINK_LOCAL && !destination.is_multicast();
        if wide && candidates.iter().all(|c| scope(c.address) <= LINK_LOCAL) {
            let others = self.interfaces.iter().filter(|at| at.id != interface && at.mac().is_some());
            candidates.extend(others.flat_map(|at| of(at, false)).filter(|c| scope(c.address) > LINK_LOCAL));
        }
        let prefer_temporary = self.settings.ipv6_use_tempaddr >= 2;
        // Of equals the first.
        candidates.into_iter().rev().max_by(|a, b| a.compare(b, destination, prefer_temporary)).map(|c| c.address)
    }

    /// Puts destinations of one name in the order in which to try them (RFC 6724 §6).
    pub fn sort_destinations(&mut self, destinations: &mut [IpAddr]) {
        destinations.sort_by_cached_key(|&address| {
            let destination = mapped(address);
            let route = self.route(address, None).ok();
            let source = route.map(|route| (route.interface, mapped(route.source)));
            let (precedence, label) = policy(destination);
            let (source_scope, source_label, common, deprecated) = match source {
                Some((interface, source)) => {
                    let at = self.interface(interface);
                    let deprecated = at.is_some_and(|at| at.is_deprecated(source.into()));
                    // Rule 9 means nothing for IPv4, whose prefixes tell little of the way.
                    let common = if address.is_ipv6() { common_prefix(source, destination).min(64) } else { 0 };
                    (scope(source), policy(source).1, common, deprecated)
                }
                None => (0, u8::MAX, 0, false),
            };
            (
                // Rule 1: what can be reached at all.
                source.is_none(),
                // Rule 2.
                source_scope != scope(destination),
                // Rule 3.
                deprecated,
                // Rule 5.
                source_label != label,
                // Rule 6.
                Reverse(precedence),
                // Rule 8.
                scope(destination),
                // Rule 9, for one family.
                Reverse(common),
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(address: &str) -> Candidate {
        Candidate {
            address: address.parse().unwrap(),
            prefix_len: 64,
            deprecated: false,
            temporary: false,
            outgoing: true,
        }
    }

    fn best(candidates: &[Candidate], destination: &str) -> String {
        let destination = destination.parse().unwrap();
        candidates.iter().max_by(|a, b| a.compare(b, destination, false)).unwrap().address.to_string()
    }

    #[test]
    fn the_examples_of_source_selection() {
        // RFC 6724 §10.1.
        let of = |addresses: &[&str]| addresses.iter().map(|a| candidate(a)).collect::<Vec<_>>();
        assert_eq!(best(&of(&["2001:db8:3::1", "fe80::1"]), "2001:db8:1::1"), "2001:db8:3::1");
        assert_eq!(best(&of(&["2001:db8:3::1", "fe80::1"]), "ff05::1"), "2001:db8:3::1");
        let mut deprecated = of(&["2001:db8:1::1", "2001:db8:2::1"]);
        deprecated[0].deprecated = true;
        assert_eq!(best(&deprecated, "2001:db8:1::1"), "2001:db8:1::1", "rule 1 comes before rule 3");
        assert_eq!(best(&of(&["fe80::1", "2001:db8:1::1"]), "fe80::2"), "fe80::1");
        assert_eq!(best(&of(&["2001:db8:1::2", "2001:db8:3::2"]), "2001:db8:1::1"), "2001:db8:1::2");
        assert_eq!(best(&of(&["2002:c633:6401::2", "2001:db8:1::2"]), "2002:c633:6401::1"), "2002:c633:6401::2");
        assert_eq!(best(&of(&["2001:db8::1", "fd00::1"]), "fd12::1"), "fd00::1");
        let mut temporary = of(&["2001:db8:1::2", "2001:db8:1::d5e3"]);
        temporary[1].temporary = true;
        assert_eq!(best(&temporary, "2001:db8:2::1"), "2001:db8:1::2");
        assert!(temporary[1].compare(&temporary[0], "2001:db8:2::1".parse().unwrap(), true).is_gt());
    }

    #[test]
    fn scopes_and_policies() {
        let of = |s: &str| mapped(s.parse().unwrap());
        assert_eq!((scope(of("169.254.1.1")), scope(of("10.0.0.1")), scope(of("ff05::1"))), (2, 14, 5));
        assert_eq!((scope(of("::1")), scope(of("fec0::1")), scope(of("fd00::1"))), (2, 5, 14));
        assert_eq!((policy(of("::1")), policy(of("10.0.0.1")), policy(of("2001:db8::1"))), ((50, 0), (35, 4), (40, 1)));
        assert_eq!((policy(of("2001:0:1::1")), policy(of("fd00::1"))), ((5, 5), (3, 13)));
    }
}
