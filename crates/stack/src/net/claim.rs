//! Claiming addresses (RFC 5227): probing before use, announcing, and defending.
//!
//! An address of an interface made with `probe` is not used until three probes went unanswered; a conflict meanwhile gives it
//! up. Once in use it is defended, at most once in `DEFEND_INTERVAL`, and never given up: §2.4 (c), as suits a host
//! whose address was configured.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use wireway_packet::Instant;
use wireway_wire::{ArpPacket, MacAddr};

use super::Net;
use crate::counters::Counter;
use crate::interface::Cidr;
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
    address: Ipv4Addr,
    state: State,
    /// When something is to be done next.
    next: Instant,
    defended: Option<Instant>,
}

/// The claims of an interface.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    claims: Vec<Claim>,
    timer: Timer,
}

impl Net {
    /// Starts to use an address, after probing if `probe` says so.
    pub fn claim(&mut self, now: Instant, interface: InterfaceId, cidr: Cidr, probe: bool) -> Result<()> {
        if !cidr.is_valid() {
            return Err(Error::InvalidArgument);
        }
        let announced = match probe {
            true => Some(State::Probing(0)),
            false if self.settings.arp_notify => Some(State::Announcing(0)),
            false => None,
        };
        let state = match (cidr.address, announced) {
            (IpAddr::V4(_), Some(state)) => state,
            _ => State::Settled,
        };
        if !matches!(state, State::Probing(_)) {
            self.install_address(interface, cidr);
        }
        let wait = self.between(Duration::ZERO, self.scaled(PROBE_WAIT));
        let next = if matches!(state, State::Probing(_)) { now + wait } else { now };
        let at = self.interfaces.get_mut(usize::from(interface.0)).ok_or(Error::NoDevice)?;
        if let IpAddr::V4(address) = cidr.address {
            at.claims.claims.push(Claim { cidr, address, state, next, defended: None });
        }
        self.arm_claims(interface);
        Ok(())
    }

    /// Gives an address up.
    pub fn disclaim(&mut self, interface: InterfaceId, cidr: Cidr) -> Result<()> {
        let at = self.interfaces.get_mut(usize::from(interface.0)).ok_or(Error::NoDevice)?;
        let before = at.claims.claims.len();
        at.claims.claims.retain(|claim| claim.cidr != cidr);
        let claimed = at.claims.claims.len() < before;
        if self.remove_address(interface, cidr) || claimed { Ok(()) } else { Err(Error::AddressNotAvailable) }
    }

    /// Whether an address is being probed.
    pub fn is_probing(&self, interface: InterfaceId, cidr: Cidr) -> bool {
        let claims = self.interface(interface).map(|at| &at.claims.claims[..]).unwrap_or_default();
        claims.iter().any(|claim| claim.cidr == cidr && matches!(claim.state, State::Probing(_)))
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
        let pending = at.claims.claims.iter().filter(|c| c.state != State::Settled);
        match pending.map(|c| c.next).min() {
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
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        let Some(mac) = at.mac() else { return };
        let mut packets = Vec::new();
        let mut install = Vec::new();
        for claim in at.claims.claims.iter_mut().filter(|c| c.next <= now) {
            match claim.state {
                State::Probing(sent) if sent < PROBE_NUM => {
                    packets.push(ArpPacket::probe(mac, claim.address));
                    claim.state = State::Probing(sent + 1);
                    let last = sent + 1 == PROBE_NUM;
                    claim.next = now + if last { last_wait } else { pause[usize::from(sent)] };
                }
                State::Probing(_) => {
                    install.push(claim.cidr);
                    packets.push(ArpPacket::announcement(mac, claim.address));
                    claim.state = State::Announcing(1);
                    claim.next = now + ANNOUNCE_INTERVAL;
                }
                State::Announcing(sent) if sent < ANNOUNCE_NUM => {
                    packets.push(ArpPacket::announcement(mac, claim.address));
                    claim.state = State::Announcing(sent + 1);
                    claim.next = now + ANNOUNCE_INTERVAL;
                }
                State::Announcing(_) => claim.state = State::Settled,
                State::Settled => {}
            }
        }
        for cidr in install {
            self.install_address(interface, cidr);
        }
        for packet in packets {
            self.counters.count(Counter::ArpOutRequests);
            self.send_arp(interface, MacAddr::BROADCAST, &packet);
        }
        self.arm_claims(interface);
    }

    /// Looks whether an ARP packet of another station conflicts with an address of ours (RFC 5227 §2.1.1, §2.4).
    pub(super) fn check_claims(&mut self, now: Instant, interface: InterfaceId, arp: &ArpPacket) {
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        let Some(mac) = at.mac() else { return };
        let (sender, target) = (arp.sender_ip(), arp.target_ip());
        let claims = &mut at.claims.claims;
        let Some(index) = claims.iter().position(|c| c.address == sender || (arp.is_probe() && c.address == target))
        else {
            return;
        };
        let claim = &mut claims[index];
        if matches!(claim.state, State::Probing(_)) {
            self.counters.count(Counter::ArpConflicts);
            claims.remove(index);
            self.arm_claims(interface);
        } else if claim.address == sender {
            self.counters.count(Counter::ArpConflicts);
            if claim.defended.is_none_or(|at| now >= at + DEFEND_INTERVAL) {
                claim.defended = Some(now);
                let announcement = ArpPacket::announcement(mac, claim.address);
                self.counters.count(Counter::ArpOutRequests);
                self.send_arp(interface, MacAddr::BROADCAST, &announcement);
            }
        }
    }
}
