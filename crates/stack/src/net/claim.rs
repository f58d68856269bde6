//! Claiming addresses: probing before use, and of IPv4 announcing and defending (RFC 5227; RFC 4862 §5.4).
//!
//! An IPv4 address of an interface made with `probe` is not used until three ARP probes went unanswered; a conflict meanwhile gives it
//! up. Once in use it is defended, at most once in `DEFEND_INTERVAL`, and never given up: §2.4 (c), as suits a host
//! whose address was configured.
//!
//! An IPv6 address is always probed, by `ipv6_dad_transmits` neighbour solicitations (0: not at all), each with a nonce by which it is known if it comes back
//! over a loop (RFC 7527). Of a conflict `slaac.rs` is told, which tries another address where it made this one.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use wireway_packet::Instant;
use wireway_wire::ipv6::solicited_node;
use wireway_wire::{ArpPacket, MacAddr};

use super::Net;
use super::ipv6::MIN_MTU;
use crate::counters::Counter;
use crate::interface::{AddressOptions, Cidr};
use crate::timer::{Timer, TimerKey};
use crate::{Error, InterfaceId, Result};

// RFC 5227 §1.1. Those of probing add up to seven seconds at most, and are scaled to the setting.
const PROBE_TIME: Duration = Duration::from_secs(7);
const PROBE_WAIT: Duration = Duration::from_secs(1);
const PROBE_NUM: u8 = 3;
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(2);
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
const ANNOUNCE_NUM: u8 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// Addresses that an interface may have, at most.
const ADDRESSES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many probes were sent.
    Probing(u8),
    /// In use; so many announcements were sent.
    Announcing(u8),
    /// In use.
    Settled,
}

#[derive(Debug)]
struct Claim {
    cidr: Cidr,
    state: State,
    /// Of the latest probe (IPv6).
    nonce: [u8; 6],
    /// When something is to be done next.
    next: Instant,
    defended: Option<Instant>,
}

/// The claims of an interface.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    claims: Vec<Claim>,
    /// Addresses given up, whose groups are to be left.
    departed: Vec<Ipv6Addr>,
    timer: Timer,
}

impl Claims {
    /// Addresses that are not yet in use.
    pub fn tentative(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.claims.iter().filter(|c| matches!(c.state, State::Probing(_))).map(|c| c.cidr)
    }

    /// Whether the interface has the address, or is on the way to it.
    pub fn has(&self, address: IpAddr) -> bool {
        self.claims.iter().any(|claim| claim.cidr.address == address)
    }
}

/// Whether an interface may have such an address (Linux's ipv6_add_addr).
fn is_of_one_host(address: Ipv6Addr) -> bool {
    let special = address.is_unspecified() || address.is_loopback() || address.to_ipv4_mapped().is_some();
    !special && !address.is_multicast()
}

impl Net {
    /// Starts to use an address, after probing if `probe` says so; an IPv6 address always is probed, if the settings have it so.
    /// ENOBUFS if the interface has too many.
    pub fn claim(&mut self, now: Instant, interface: InterfaceId, cidr: Cidr, options: AddressOptions) -> Result<()> {
        if !cidr.is_valid() {
            return Err(Error::InvalidArgument);
        }
        let at = self.interface(interface).ok_or(Error::NoDevice)?;
        let state = match cidr.address {
            IpAddr::V6(ip) if !is_of_one_host(ip) => return Err(Error::InvalidArgument),
            IpAddr::V6(_) if at.mtu < u32::from(MIN_MTU) => return Err(Error::InvalidArgument),
            // Claimed already: nothing is to be done.
            IpAddr::V6(_) if at.claims.has(cidr.address) => return Ok(()),
            _ if at.claims.claims.len() >= ADDRESSES => return Err(Error::NoBuffers),
            // On `lo` there is nobody to ask (RFC 4862 §5.4 is about links with others).
            IpAddr::V6(_) if at.mac().is_none() => State::Settled,
            IpAddr::V6(_) if self.settings.ipv6_dad_transmits > 0 && !options.no_dad => State::Probing(0),
            IpAddr::V4(_) if options.probe => State::Probing(0),
            IpAddr::V4(_) if self.settings.arp_notify => State::Announcing(0),
            _ => State::Settled,
        };
        self.give(now, interface, cidr, options);
        if !matches!(state, State::Probing(_)) {
            self.take_into_use(now, interface, cidr);
        }
        // RFC 5227 §2.1.1, RFC 4862 §5.4.2.
        let wait = self.between(Duration::ZERO, self.scaled(PROBE_WAIT));
        let next = if matches!(state, State::Probing(_)) { now + wait } else { now };
        let at = self.interfaces.get_mut(usize::from(interface.0)).ok_or(Error::NoDevice)?;
        at.claims.claims.push(Claim { cidr, state, nonce: [0; 6], next, defended: None });
        self.arm_claims(interface);
        if let IpAddr::V6(address) = cidr.address {
            // The group by which it is asked for is listened to from now on (RFC 4862 §5.4.2).
            self.join(now, interface, solicited_node(address).into());
            if !address.is_unicast_link_local() {
                self.ensure_link_local(now, interface);
            }
        }
        Ok(())
    }

    fn take_into_use(&mut self, now: Instant, interface: InterfaceId, cidr: Cidr) {
        self.install_address(interface, cidr);
        if matches!(cidr.address, IpAddr::V6(address) if address.is_unicast_link_local()) {
            self.solicit_routers(now, interface);
            self.tell_groups_again(now, interface);
        }
    }

    /// Gives an address up.
    pub fn disclaim(&mut self, interface: InterfaceId, cidr: Cidr) -> Result<()> {
        let at = self.interfaces.get_mut(usize::from(interface.0)).ok_or(Error::NoDevice)?;
        let before = at.claims.claims.len();
        at.claims.claims.retain(|claim| claim.cidr != cidr);
        let claimed = at.claims.claims.len() < before;
        if let (IpAddr::V6(address), true) = (cidr.address, claimed) {
            at.claims.departed.push(address);
            self.arm_claims(interface);
        }
        self.forget_given(interface, cidr);
        let had = self.remove_address(interface, cidr) || claimed;
        if let (IpAddr::V6(address), Some(at)) = (cidr.address, self.interfaces.get_mut(usize::from(interface.0)))
            && had
        {
            at.slaac.forget(address);
        }
        if had { Ok(()) } else { Err(Error::AddressNotAvailable) }
    }

    /// Whether an address is being probed.
    pub fn is_probing(&self, interface: InterfaceId, cidr: Cidr) -> bool {
        let claims = self.interface(interface).map(|at| &at.claims.claims[..]).unwrap_or_default();
        claims.iter().any(|claim| claim.cidr == cidr && matches!(claim.state, State::Probing(_)))
    }

    /// The interface is up: addresses that were being probed, or are to be, are so from the start; others may be announced.
    pub(super) fn start_claims(&mut self, now: Instant, interface: InterfaceId) {
        let notify = self.settings.arp_notify;
        let wait = self.between(Duration::ZERO, self.scaled(PROBE_WAIT));
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        for claim in &mut at.claims.claims {
            (claim.state, claim.next) = match claim.state {
                State::Probing(_) => (State::Probing(0), now + wait),
                _ if notify && claim.cidr.address.is_ipv4() => (State::Announcing(0), now),
                _ => (State::Settled, now),
            };
        }
        self.arm_claims(interface);
    }

    /// The interface is down: nothing is probed or announced.
    pub(super) fn stop_claims(&mut self, interface: InterfaceId) {
        self.arm_claims(interface);
    }

    /// One of the times of probing, as the setting wants it.
    fn scaled(&self, time: Duration) -> Duration {
        let millis = time.as_millis() * self.settings.address_probe_time.as_millis() / PROBE_TIME.as_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    fn between(&mut self, from: Duration, to: Duration) -> Duration {
        from + (to - from) * self.rng.below(1024) / 1024
    }

    fn arm_claims(&mut self, interface: InterfaceId) {
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        let pending = at.claims.claims.iter().filter(|c| at.up && c.state != State::Settled);
        let departed = (!at.claims.departed.is_empty()).then_some(Instant::ZERO);
        match pending.map(|c| c.next).chain(departed).min() {
            Some(next) => {
                self.timers.arm(&mut at.claims.timer, next, TimerKey::AddressClaim { interface: interface.0 });
            }
            None => self.timers.disarm(&mut at.claims.timer),
        }
    }

    /// Probes, announces, and starts to use what was probed.
    pub(super) fn on_claim_timer(&mut self, now: Instant, interface: InterfaceId) {
        let mut pause = [Duration::ZERO; PROBE_NUM as usize + 1];
        for pause in &mut pause {
            *pause = self.between(self.scaled(PROBE_MIN), self.scaled(PROBE_MAX));
        }
        let last_wait = self.scaled(ANNOUNCE_WAIT);
        let retrans_time = self.retrans_time(interface, true);
        let departed =
            self.interfaces.get_mut(usize::from(interface.0)).map(|at| core::mem::take(&mut at.claims.departed));
        for address in departed.unwrap_or_default() {
            self.leave(now, interface, solicited_node(address).into());
        }
        let dad_transmits = self.settings.ipv6_dad_transmits;
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        let Some(mac) = at.station else { return };
        let mut packets = Vec::new();
        let mut install = Vec::new();
        let mut probes = Vec::new();
        for claim in at.claims.claims.iter_mut().filter(|c| c.next <= now) {
            let address = match (claim.cidr.address, claim.state) {
                (IpAddr::V4(address), _) => address,
                (IpAddr::V6(address), State::Probing(sent)) if sent < dad_transmits => {
                    claim.nonce = self.rng.nonce();
                    claim.state = State::Probing(sent + 1);
                    claim.next = now + retrans_time;
                    probes.push((address, claim.nonce));
                    continue;
                }
                (IpAddr::V6(_), State::Probing(_)) => {
                    install.push(claim.cidr);
                    claim.state = State::Settled;
                    continue;
                }
                (IpAddr::V6(_), _) => continue,
            };
            match claim.state {
                State::Probing(sent) if sent < PROBE_NUM => {
                    packets.push(ArpPacket::probe(mac, address));
                    claim.state = State::Probing(sent + 1);
                    let last = sent + 1 == PROBE_NUM;
                    claim.next = now + if last { last_wait } else { pause[usize::from(sent)] };
                }
                State::Probing(_) => {
                    install.push(claim.cidr);
                    packets.push(ArpPacket::announcement(mac, address));
                    claim.state = State::Announcing(1);
                    claim.next = now + ANNOUNCE_INTERVAL;
                }
                State::Announcing(sent) if sent < ANNOUNCE_NUM => {
                    packets.push(ArpPacket::announcement(mac, address));
                    claim.state = State::Announcing(sent + 1);
                    claim.next = now + ANNOUNCE_INTERVAL;
                }
                State::Announcing(_) => claim.state = State::Settled,
                State::Settled => {}
            }
        }
        for cidr in install {
            self.take_into_use(now, interface, cidr);
        }
        for packet in packets {
            self.counters.count(Counter::ArpOutRequests);
            self.send_arp(interface, MacAddr::BROADCAST, &packet);
        }
        for (address, nonce) in probes {
            self.send_dad_probe(now, interface, address, nonce);
        }
        self.arm_claims(interface);
    }

    /// Another station has, or probes for, an IPv6 address that is being probed here (RFC 4862 §5.4.3 to §5.4.5): it is given up. `nonce` is that of a
    /// probe; our own is no other station's. False if the address is not being probed.
    pub(super) fn contest_claim(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: Ipv6Addr,
        nonce: Option<&[u8]>,
    ) -> bool {
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return false };
        let claims = &mut at.claims.claims;
        let probing = |c: &Claim| c.cidr.address == address && matches!(c.state, State::Probing(_));
        let Some(index) = claims.iter().position(probing) else { return false };
        // RFC 7527 §4.2: ours, come back over a loop.
        if nonce.is_none_or(|nonce| nonce != claims[index].nonce) {
            let cidr = claims.remove(index).cidr;
            at.claims.departed.push(address);
            self.forget_given(interface, cidr);
            self.counters.count(Counter::NdConflicts);
            self.arm_claims(interface);
            self.address_is_taken(now, interface, address);
        }
        true
    }

    /// Looks whether an ARP packet of another station conflicts with an address of ours (RFC 5227 §2.1.1, §2.4).
    pub(super) fn check_claims(&mut self, now: Instant, interface: InterfaceId, arp: &ArpPacket) {
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        let Some(mac) = at.mac() else { return };
        let (sender, target) = (arp.sender_ip(), arp.target_ip());
        let claims = &mut at.claims.claims;
        let of = |claim: &Claim, address: Ipv4Addr| claim.cidr.address == address;
        let Some(index) = claims.iter().position(|c| of(c, sender) || (arp.is_probe() && of(c, target))) else {
            return;
        };
        let claim = &mut claims[index];
        if matches!(claim.state, State::Probing(_)) {
            self.counters.count(Counter::ArpConflicts);
            let cidr = claims.remove(index).cidr;
            self.forget_given(interface, cidr);
            self.arm_claims(interface);
        } else if of(claim, sender) {
            self.counters.count(Counter::ArpConflicts);
            if claim.defended.is_none_or(|at| now >= at + DEFEND_INTERVAL) {
                claim.defended = Some(now);
                let announcement = ArpPacket::announcement(mac, sender);
                self.counters.count(Counter::ArpOutRequests);
                self.send_arp(interface, MacAddr::BROADCAST, &announcement);
            }
        }
    }
}
