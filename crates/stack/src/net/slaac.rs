//! Addresses that a host makes itself (RFC 4862): link-local ones, one in each prefix that routers advertise for it, and temporary ones.
//!
//! The interface identifier is a keyed hash of prefix, interface and secret (RFC 7217): the same whenever the host comes back to a network, and
//! of no use to whoever wants to follow it to another. Of a conflict another try makes another one. Temporary addresses (RFC 8981) have
//! random identifiers, and successors in time.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use siphasher::sip::SipHasher24;
use wireway_packet::Instant;
use wireway_wire::PrefixInformation;

use super::Net;
use super::router::end_of;
use crate::InterfaceId;
use crate::interface::{AddressOptions, Cidr};

/// Prefixes that addresses are made of, at most.
const PREFIXES: usize = 16;
/// Tries in a row for one address (RFC 7217 §7, RFC 8981 §3.8).
const TRIES: u8 = 3;
/// A lifetime that an advertisement cannot shorten further (RFC 4862 §5.5.3 (e)).
const TWO_HOURS: Duration = Duration::from_secs(7200);
/// Temporary addresses of an interface, at most: by default settings one that is preferred in each prefix, and three before it that are still valid.
const TEMPORARIES: usize = 4 * PREFIXES;
/// The constant part of the time before a temporary address is deprecated at which its successor is made (RFC 8981 §3.8).
const REGEN_ADVANCE: Duration = Duration::from_secs(2);
/// The interface identifier's bits on Ethernet (RFC 2464 §4).
const PREFIX_LEN: u8 = 64;

/// An address that was made here.
#[derive(Debug)]
struct Made {
    address: Ipv6Addr,
    /// The network, with its prefix length.
    prefix: Ipv6Addr,
    temporary: bool,
    /// Conflicts that there were (RFC 7217's DAD_Counter).
    conflicts: u8,
    preferred_until: Instant,
    valid_until: Instant,
    deprecated: bool,
    /// When a temporary one is to have a successor; once that time came, none.
    succeed_at: Option<Instant>,
    /// Beyond these no advertisement prolongs a temporary one: preferred and valid (RFC 8981 §3.4).
    limits: (Instant, Instant),
}

/// The addresses that an interface made.
#[derive(Debug, Default)]
pub(crate) struct Slaac {
    made: Vec<Made>,
    /// Random addresses were taken again and again: there are none any more (RFC 8981 §3.4 (7)).
    no_temporaries: bool,
}

impl Slaac {
    fn find(&self, address: Ipv6Addr) -> Option<&Made> {
        self.made.iter().find(|made| made.address == address)
    }

    /// The address was given up. The next advertisement may have it made again.
    pub fn forget(&mut self, address: Ipv6Addr) {
        self.made.retain(|made| made.address != address);
    }

    /// Whether the address is one that new connections should not use (RFC 4862 §5.5.4).
    pub fn is_deprecated(&self, address: Ipv6Addr) -> bool {
        self.find(address).is_some_and(|made| made.deprecated)
    }

    pub fn is_temporary(&self, address: Ipv6Addr) -> bool {
        self.find(address).is_some_and(|made| made.temporary)
    }

    /// Whether the address was made of an advertised prefix.
    pub fn has_global(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V6(ip) if !ip.is_unicast_link_local() && self.find(ip).is_some())
    }

    /// Until when the address is preferred and valid, if it was made here.
    pub fn lifetimes(&self, address: Ipv6Addr) -> Option<(Instant, Instant)> {
        self.find(address).map(|made| (made.preferred_until, made.valid_until))
    }

    /// When something ends next.
    pub fn next_at(&self) -> Option<Instant> {
        let ends = self.made.iter().flat_map(|made| {
            let preferred = (!made.deprecated).then_some(made.preferred_until);
            [preferred, made.succeed_at, Some(made.valid_until)]
        });
        ends.flatten().filter(|&at| at != Instant::FAR_FUTURE).min()
    }
}

/// Whether an identifier is kept for other uses (RFC 5453): anycast addresses of subnet's routers, and others of IANA's.
fn is_reserved(id: u64) -> bool {
    matches!(id, 0 | 0x0200_5eff_fe00_0000..=0x0200_5eff_feff_ffff | 0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff)
}

/// So long before a time; never, if that is never.
fn before(at: Instant, advance: Duration) -> Instant {
    match at {
        Instant::FAR_FUTURE => at,
        at => Instant::from_nanos(at.as_nanos().saturating_sub(advance.as_nanos() as u64)),
    }
}

fn join(prefix: Ipv6Addr, id: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(prefix.to_bits() & !u128::from(u64::MAX) | u128::from(id))
}

impl Net {
    /// The stable address in a prefix after so many conflicts (RFC 7217 §5). Net_Iface is the interface's name and MAC address.
    fn stable_address(&self, interface: InterfaceId, prefix: Ipv6Addr, conflicts: u8) -> Option<Ipv6Addr> {
        let at = self.interface(interface)?;
        let secret = self.settings.ipv6_stable_secret.unwrap_or(self.stable_secret);
        let hash = SipHasher24::new_with_key(&secret);
        let mac = at.mac()?;
        let id = (0u8..=255).find_map(|reserved| {
            let network = (prefix.to_bits() >> 64) as u64;
            let input = [&network.to_be_bytes()[..], &mac.0, &[conflicts, reserved], at.name.as_bytes()].concat();
            Some(hash.hash(&input)).filter(|&id| !is_reserved(id))
        })?;
        Some(join(prefix, id))
    }

    fn random_address(&mut self, prefix: Ipv6Addr) -> Ipv6Addr {
        // Reserved ones are so few that one draw more is enough.
        let id = self.rng.next_u64();
        join(prefix, if is_reserved(id) { self.rng.next_u64() } else { id })
    }

    /// Gives an interface its link-local address, if it can have one and has none.
    pub(super) fn ensure_link_local(&mut self, now: Instant, interface: InterfaceId) {
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        at.link_local = true;
        if !at.up {
            return;
        }
        let has = at.v6_addresses().any(|address| address.is_unicast_link_local());
        let prefix = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
        if !has && let Some(address) = self.stable_address(interface, prefix, 0) {
            self.make(now, interface, prefix, address, (Instant::FAR_FUTURE, Instant::FAR_FUTURE), None);
        }
    }

    /// Notes an address that was made, and claims it. `temporary`: the limits of its lifetimes.
    fn make(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        prefix: Ipv6Addr,
        address: Ipv6Addr,
        (preferred_until, valid_until): (Instant, Instant),
        temporary: Option<(Instant, Instant)>,
    ) {
        let advance = self.regen_advance(interface);
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        at.slaac.made.push(Made {
            address,
            prefix,
            temporary: temporary.is_some(),
            conflicts: 0,
            preferred_until,
            valid_until,
            deprecated: preferred_until <= now,
            succeed_at: temporary.map(|_| before(preferred_until, advance)),
            limits: temporary.unwrap_or((Instant::FAR_FUTURE, Instant::FAR_FUTURE)),
        });
        self.claim_made(now, interface, address);
    }

    fn claim_made(&mut self, now: Instant, interface: InterfaceId, address: Ipv6Addr) {
        let cidr = Cidr { address: address.into(), prefix_len: PREFIX_LEN };
        if self.claim(now, interface, cidr, AddressOptions::default()).is_err()
            && let Some(at) = self.interfaces.get_mut(usize::from(interface.0))
        {
            at.slaac.forget(address);
        }
        self.arm_autoconf(interface);
    }

    /// Another station has an address that was being probed: one that was made here is made anew, a few times (RFC 7217 §6, RFC 8981 §3.4).
    pub(super) fn address_is_taken(&mut self, now: Instant, interface: InterfaceId, address: Ipv6Addr) {
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        let Some(index) = at.slaac.made.iter().position(|made| made.address == address) else { return };
        let made = &mut at.slaac.made[index];
        made.conflicts += 1;
        let (conflicts, prefix, temporary) = (made.conflicts, made.prefix, made.temporary);
        let next = match temporary {
            true => Some(self.random_address(prefix)),
            false => self.stable_address(interface, prefix, conflicts),
        };
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        match next.filter(|_| conflicts < TRIES) {
            Some(next) => {
                if let Some(made) = at.slaac.made.get_mut(index) {
                    made.address = next;
                }
                self.claim_made(now, interface, next);
            }
            None => {
                at.slaac.no_temporaries |= temporary;
                at.slaac.made.remove(index);
            }
        }
    }

    /// A prefix that addresses may be made of was advertised (RFC 4862 §5.5.3).
    pub(super) fn prefix_for_addresses(&mut self, now: Instant, interface: InterfaceId, prefix: &PrefixInformation) {
        let network = prefix.prefix();
        let fits = prefix.prefix_len() == PREFIX_LEN && prefix.preferred() <= prefix.valid();
        if !fits || network.is_unicast_link_local() || network.is_multicast() {
            return;
        }
        let (preferred, valid) = (end_of(now, prefix.preferred()), end_of(now, prefix.valid()));
        let advance = self.regen_advance(interface);
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        let (mut has_stable, mut changed) = (false, false);
        for made in at.slaac.made.iter_mut().filter(|made| made.prefix == network) {
            has_stable |= !made.temporary;
            // (e): the rest of two hours, or less, is not shortened by anybody who can send an advertisement.
            let rest = made.valid_until.since(now);
            made.valid_until = if valid.since(now) > TWO_HOURS || valid > made.valid_until {
                valid
            } else if rest <= TWO_HOURS {
                made.valid_until
            } else {
                now + TWO_HOURS
            };
            made.valid_until = made.valid_until.min(made.limits.1);
            made.preferred_until = preferred.min(made.valid_until).min(made.limits.0);
            if made.temporary {
                made.succeed_at = Some(before(made.preferred_until, advance)).filter(|&at| at > now);
            }
            let deprecated = made.preferred_until <= now;
            changed |= core::mem::replace(&mut made.deprecated, deprecated) != deprecated;
        }
        let prefixes = at.slaac.made.iter().filter(|made| !made.temporary).count();
        if changed {
            self.destinations.clear();
        }
        if !has_stable
            && prefix.valid() > 0
            && prefixes <= PREFIXES
            && let Some(address) = self.stable_address(interface, network, 0)
        {
            self.make(now, interface, network, address, (preferred, valid), None);
        }
        self.make_temporaries(now, interface);
        self.arm_autoconf(interface);
    }

    /// REGEN_ADVANCE (RFC 8981 §3.8): what probing takes if each address but the last is taken.
    fn regen_advance(&self, interface: InterfaceId) -> Duration {
        let probes = u32::from(TRIES) * u32::from(self.settings.ipv6_dad_transmits);
        REGEN_ADVANCE + self.retrans_time(interface, true) * probes
    }

    /// Makes a temporary address in each prefix that has none to go on with (RFC 8981 §3.4, §3.5), as far as there is room.
    fn make_temporaries(&mut self, now: Instant, interface: InterfaceId) {
        if self.settings.ipv6_use_tempaddr == 0 {
            return;
        }
        let advance = self.regen_advance(interface);
        let Some(at) = self.interface(interface).filter(|at| !at.slaac.no_temporaries) else { return };
        let made = &at.slaac.made;
        let room = TEMPORARIES.saturating_sub(made.iter().filter(|made| made.temporary).count());
        let current = |prefix| made.iter().any(|made| made.prefix == prefix && made.succeed_at.is_some());
        let wanting = made.iter().filter(|made| {
            !made.temporary && !made.address.is_unicast_link_local() && !made.deprecated && !current(made.prefix)
        });
        let wanting: Vec<_> =
            wanting.take(room).map(|made| (made.prefix, made.preferred_until, made.valid_until)).collect();
        for (prefix, preferred, valid) in wanting {
            // DESYNC_FACTOR, so that hosts do not change in step: up to two fifths of the lifetime (§3.8).
            let lifetime = self.settings.ipv6_temp_preferred_lifetime;
            let desync = lifetime * 2 / 5 * self.rng.below(1024) / 1024;
            let limits = (now + (lifetime - desync), now + self.settings.ipv6_temp_valid_lifetime);
            let preferred = preferred.min(limits.0);
            // (4): not if it would need a successor at once.
            if preferred > now + advance {
                let address = self.random_address(prefix);
                self.make(now, interface, prefix, address, (preferred, valid.min(limits.1)), Some(limits));
            }
        }
    }

    /// Ends what is over.
    pub(super) fn expire_addresses(&mut self, now: Instant, interface: InterfaceId) {
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        let mut changed = false;
        for made in &mut at.slaac.made {
            made.succeed_at = made.succeed_at.filter(|&at| at > now);
            if !made.deprecated && made.preferred_until <= now {
                made.deprecated = true;
                changed = true;
            }
        }
        let over: Vec<Ipv6Addr> =
            at.slaac.made.iter().filter(|made| made.valid_until <= now).map(|made| made.address).collect();
        for address in over {
            let cidr = Cidr { address: address.into(), prefix_len: PREFIX_LEN };
            let _ = self.disclaim(interface, cidr);
            if let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) {
                at.slaac.forget(address);
            }
        }
        self.make_temporaries(now, interface);
        if changed {
            self.destinations.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use wireway_wire::MacAddr;

    use super::*;
    use crate::{InterfaceConfig, Settings};

    #[test]
    fn reserved_identifiers() {
        assert!(is_reserved(0) && is_reserved(0x0200_5eff_fe00_5213) && is_reserved(0xfdff_ffff_ffff_ff80));
        assert!(!is_reserved(1) && !is_reserved(0xfdff_ffff_ffff_ff7f));
    }

    #[test]
    fn an_advertisement_that_changes_nothing_leaves_what_is_known_of_destinations() {
        let settings = Settings { ipv6_dad_transmits: 0, ..Settings::default() };
        let (mut net, now) = (Net::new(settings, [1; 32]), Instant::from_millis(0));
        let config =
            InterfaceConfig { autoconf: true, ..InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 0, 0, 1]), 1500) };
        let id = net.add_interface(now, &config).unwrap();
        let prefix = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
        let mut advertised = |now, preferred| {
            let before = net.destinations.generation;
            let option = PrefixInformation::new(prefix, PREFIX_LEN, true, true, 9000, preferred);
            net.prefix_for_addresses(now, id, &option);
            net.destinations.generation != before
        };
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!(advertised(at(0), 9000), "there is a new address");
        assert!(!advertised(at(10), 9000));
        assert!(advertised(at(20), 0), "now it is deprecated");
        assert!(!advertised(at(30), 0));
    }
}
