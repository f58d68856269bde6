//! Neighbours: which MAC address a next hop has, as a cache with Linux's states, for ARP and neighbour discovery (RFC 4861 §7.3).
//!
//! # Theory of operation
//!
//! ```text
//! none -> Incomplete -> Reachable -> Stale -> Delay -> Probe -> Reachable
//!             |                        |                 |
//!             +-> Failed -> forgotten  +-> forgotten     +-> Failed
//! ```
//!
//! The first packet to a new neighbour makes an `Incomplete` entry, waits in it and sends a solicitation; an answer makes the
//! entry `Reachable` and sends what waited, in order. After about `base_reachable_time` without confirmation (an answer,
//! or word from a transport that the peer acknowledges) it is `Stale`: still used, but the next packet starts `Delay`, and unless
//! a confirmation comes within `delay_first_probe_time` the neighbour is asked (`Probe`, unicast). Without an answer it is `Failed`:
//! what waited is dropped, and an ICMP host unreachable goes to the host itself, so that sockets hear of it.
//!
//! Packets that wait are bounded a neighbour, the newest dropped; entries are bounded in number. Of a few looked at the least worth makes room: one that
//! failed, or that nothing was ever sent to (anybody can make us learn such), before one that is asked for, and that before one that answered (RFC 6583 §7.1: a
//! scan of the link must not drive out those in use); of equals the least recently used. One timer an entry.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::VecDeque;

use wireway_packet::{Instant, Packet};
use wireway_wire::{AdvertisementFlags, MacAddr};

use super::Net;
use crate::counters::DropReason;
use crate::rng::{Map, Rng};
use crate::timer::{Timer, TimerKey};
use crate::{Error, InterfaceId, Result};

/// The state of a neighbour, as Linux names it (RFC 4861 §7.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Asked for by broadcast; packets wait.
    Incomplete,
    /// Confirmed a short while ago.
    Reachable,
    /// Known, not confirmed for some time.
    Stale,
    /// Stale and used: a confirmation may still come.
    Delay,
    /// Asked by unicast whether it is still there.
    Probe,
    /// Does not answer.
    Failed,
    /// Set by the owner; never asked.
    Permanent,
}

/// A neighbour as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourInfo {
    /// On which link.
    pub interface: InterfaceId,
    /// Its IP address.
    pub address: IpAddr,
    /// Its MAC address; zero if not known.
    pub mac: MacAddr,
    /// Its state.
    pub state: NeighbourState,
}

/// Where an entry was when it was last used; checked before it is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NeighbourRef {
    index: u32,
    generation: u32,
}

impl Default for NeighbourRef {
    fn default() -> Self {
        NeighbourRef { index: u32::MAX, generation: 0 }
    }
}

struct Entry {
    interface: InterfaceId,
    address: IpAddr,
    generation: u32,
    state: NeighbourState,
    mac: MacAddr,
    /// Solicitations sent in this state.
    probes: u8,
    used: Instant,
    /// Something was sent to it.
    in_use: bool,
    /// It is a router (RFC 4861 §7.3.3).
    router: bool,
    confirmed: Instant,
    updated: Instant,
    timer: Timer,
    waiting: VecDeque<Packet>,
}

/// The cache.
pub(super) struct Neighbours {
    index: Map<(InterfaceId, IpAddr), u32>,
    entries: Vec<Option<Box<Entry>>>,
    free: Vec<u32>,
    next_generation: u32,
    /// Where the search for room goes on.
    hand: usize,
}

/// How long a gateway that does not answer is not tried again, unless it is heard of.
const GATEWAY_RETRY: Duration = Duration::from_secs(600);

/// Entries looked at when room is needed.
const SAMPLE: usize = 16;

impl Neighbours {
    pub fn new(rng: &mut Rng) -> Neighbours {
        Neighbours { index: rng.map(), entries: Vec::new(), free: Vec::new(), next_generation: 0, hand: 0 }
    }

    fn get(&mut self, at: NeighbourRef) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(at.index as usize)?.as_deref_mut()?;
        (entry.generation == at.generation).then_some(entry)
    }

    /// The interface of an entry, and whether it is one of IPv6.
    fn link_of(&mut self, at: NeighbourRef) -> Option<(InterfaceId, bool)> {
        self.get(at).map(|entry| (entry.interface, entry.address.is_ipv6()))
    }

    fn find(&self, interface: InterfaceId, address: IpAddr) -> Option<NeighbourRef> {
        let index = *self.index.get(&(interface, address))?;
        let entry = self.entries.get(index as usize)?.as_deref()?;
        Some(NeighbourRef { index, generation: entry.generation })
    }

    fn entry(&self, interface: InterfaceId, address: IpAddr) -> Option<&Entry> {
        let index = *self.index.get(&(interface, address))?;
        self.entries.get(index as usize)?.as_deref()
    }

    /// Whether something was sent to a neighbour, and it did not fail to answer.
    pub fn is_in_use(&self, interface: InterfaceId, address: IpAddr) -> bool {
        self.entry(interface, address).is_some_and(|entry| entry.in_use && entry.state != NeighbourState::Failed)
    }

    /// Whether a neighbour did not answer when it was asked last, a while ago.
    pub fn has_failed(&self, interface: InterfaceId, address: IpAddr) -> bool {
        self.entry(interface, address).is_some_and(|entry| entry.state == NeighbourState::Failed)
    }

    fn insert(&mut self, interface: InterfaceId, address: IpAddr, now: Instant) -> NeighbourRef {
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let entry = Box::new(Entry {
            interface,
            address,
            generation,
            state: NeighbourState::Failed,
            mac: MacAddr::ZERO,
            probes: 0,
            used: now,
            in_use: false,
            router: false,
            confirmed: Instant::ZERO,
            updated: Instant::ZERO,
            timer: Timer::default(),
            waiting: VecDeque::new(),
        });
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.entries.push(None);
                self.entries.len() as u32 - 1
            }
        };
        if let Some(place) = self.entries.get_mut(index as usize) {
            *place = Some(entry);
        }
        self.index.insert((interface, address), index);
        NeighbourRef { index, generation }
    }

    fn remove(&mut self, at: NeighbourRef) -> Option<Box<Entry>> {
        self.get(at)?;
        let entry = self.entries.get_mut(at.index as usize)?.take()?;
        self.index.remove(&(entry.interface, entry.address));
        self.free.push(at.index);
        Some(entry)
    }

    /// The entry to give up for a new one: see the module's head.
    fn victim(&mut self) -> Option<NeighbourRef> {
        let mut best: Option<((u8, Instant), NeighbourRef)> = None;
        for _ in 0..SAMPLE.min(self.entries.len()) {
            self.hand = (self.hand + 1) % self.entries.len();
            let Some(entry) = self.entries[self.hand].as_deref() else { continue };
            if entry.state == NeighbourState::Permanent {
                continue;
            }
            let worth = match entry.state {
                NeighbourState::Failed => 0,
                NeighbourState::Incomplete => 1,
                _ if !entry.in_use => 0,
                _ => 2,
            };
            let cost = (worth, entry.used);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, NeighbourRef { index: self.hand as u32, generation: entry.generation }));
            }
        }
        best.map(|(_, at)| at)
    }

    /// Packets that wait for an answer.
    pub fn waiting(&self) -> usize {
        self.entries.iter().flatten().map(|e| e.waiting.len()).sum()
    }

    /// All entries.
    pub fn list(&self) -> Vec<NeighbourInfo> {
        let entries = self.entries.iter().flatten();
        entries
            .map(|e| NeighbourInfo { interface: e.interface, address: e.address, mac: e.mac, state: e.state })
            .collect()
    }
}

impl Net {
    /// The neighbour's MAC address, and the packet back; or `None` if the packet waits for it now (or was dropped, and counted).
    /// `at` is where the entry was last time, and is brought up to date.
    pub(super) fn resolve(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        next_hop: IpAddr,
        at: &mut NeighbourRef,
        confirm: bool,
        packet: Packet,
    ) -> Result<Option<(MacAddr, Packet)>> {
        if self.neighbours.get(*at).is_none_or(|e| e.address != next_hop || e.interface != interface) {
            match self.neighbours.find(interface, next_hop) {
                Some(found) => *at = found,
                None => match self.new_neighbour(now, interface, next_hop) {
                    Some(made) => *at = made,
                    None => {
                        self.drop_packet(DropReason::NeighbourTableFull, packet);
                        return Err(Error::NoBuffers);
                    }
                },
            }
        }
        let Some(entry) = self.neighbours.get(*at) else { return Ok(None) };
        entry.used = now;
        entry.in_use = true;
        match entry.state {
            NeighbourState::Reachable => {
                if confirm {
                    entry.confirmed = now;
                }
                return Ok(Some((entry.mac, packet)));
            }
            NeighbourState::Permanent => return Ok(Some((entry.mac, packet))),
            NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => {
                let mac = entry.mac;
                let stale = entry.state == NeighbourState::Stale;
                if confirm {
                    self.set_reachable(now, *at);
                } else if stale {
                    let until = now + self.settings.neigh_delay_first_probe_time;
                    self.set_state(*at, NeighbourState::Delay, Some(until));
                }
                return Ok(Some((mac, packet)));
            }
            NeighbourState::Incomplete | NeighbourState::Failed => {}
        }
        let fresh = entry.state == NeighbourState::Failed;
        if entry.waiting.len() >= self.settings.neigh_unres_qlen.max(1) {
            self.drop_packet(DropReason::NeighbourQueueFull, packet);
            return Err(Error::NoBuffers);
        }
        entry.waiting.push_back(packet);
        if fresh {
            entry.probes = 0;
            self.set_state(*at, NeighbourState::Incomplete, None);
            self.solicit(now, *at);
        }
        Ok(None)
    }

    /// The address of a neighbour that is believed reachable, to be used now.
    #[inline]
    pub(super) fn reachable_neighbour(&mut self, now: Instant, at: NeighbourRef, confirm: bool) -> Option<MacAddr> {
        let entry = self.neighbours.get(at)?;
        match entry.state {
            NeighbourState::Reachable if confirm => entry.confirmed = now,
            NeighbourState::Reachable | NeighbourState::Permanent => {}
            _ => return None,
        }
        entry.used = now;
        Some(entry.mac)
    }

    /// Makes an entry, in state Failed, if there is room or room can be made.
    fn new_neighbour(&mut self, now: Instant, interface: InterfaceId, address: IpAddr) -> Option<NeighbourRef> {
        if self.neighbours.index.len() >= self.settings.neigh_gc_thresh3.max(1) {
            let victim = self.neighbours.victim()?;
            self.forget(victim);
        }
        Some(self.neighbours.insert(interface, address, now))
    }

    /// Removes an entry; what waited in it is dropped.
    fn forget(&mut self, at: NeighbourRef) {
        let Some(mut entry) = self.neighbours.remove(at) else { return };
        self.timers.cancel(&mut entry.timer);
        for packet in entry.waiting.drain(..) {
            self.drop_packet(DropReason::NeighbourTableFull, packet);
        }
    }

    /// Removes all entries that match.
    pub(super) fn forget_neighbours(&mut self, matches: impl Fn(InterfaceId, IpAddr) -> bool) {
        let matching = self.neighbours.index.iter().filter(|((interface, address), _)| matches(*interface, *address));
        let matching: Vec<_> = matching.map(|(&(interface, address), _)| (interface, address)).collect();
        for (interface, address) in matching {
            if let Some(at) = self.neighbours.find(interface, address) {
                self.forget(at);
            }
        }
    }

    fn set_state(&mut self, at: NeighbourRef, state: NeighbourState, until: Option<Instant>) {
        let Some(entry) = self.neighbours.get(at) else { return };
        entry.state = state;
        match until {
            Some(until) => {
                let key = TimerKey::Neighbour { index: at.index, generation: at.generation };
                self.timers.arm(&mut entry.timer, until, key);
            }
            None => self.timers.disarm(&mut entry.timer),
        }
    }

    fn set_reachable(&mut self, now: Instant, at: NeighbourRef) {
        // RFC 4861 §6.3.2: between half and one and a half times the base, so that hosts do not ask in step.
        let Some((interface, v6)) = self.neighbours.link_of(at) else { return };
        let base = self.base_reachable_time(interface, v6);
        let time = base / 2 + base * (self.rng.below(1024)) / 1024;
        if let Some(entry) = self.neighbours.get(at) {
            entry.confirmed = now;
        }
        self.set_state(at, NeighbourState::Reachable, Some(now + time));
    }

    /// Asks for a neighbour, and again after `retrans_time`.
    fn solicit(&mut self, now: Instant, at: NeighbourRef) {
        let Some(entry) = self.neighbours.get(at) else { return };
        entry.probes = entry.probes.saturating_add(1);
        let (interface, address, state) = (entry.interface, entry.address, entry.state);
        let mac = (state == NeighbourState::Probe).then_some(entry.mac);
        let retrans_time = self.retrans_time(interface, address.is_ipv6());
        self.set_state(at, state, Some(now + retrans_time));
        match address {
            IpAddr::V4(target) => self.send_arp_request(interface, target, mac),
            IpAddr::V6(target) => self.send_neighbour_solicitation(now, interface, target, mac),
        }
    }

    /// How long a confirmed neighbour is believed reachable on average: what the routers of IPv6 say (RFC 4861 §6.3.4), else the setting.
    fn base_reachable_time(&self, interface: InterfaceId, v6: bool) -> Duration {
        let said = self.interface(interface).and_then(|at| at.routers.reachable_time).filter(|_| v6);
        said.unwrap_or(self.settings.neigh_base_reachable_time)
    }

    /// The time between two solicitations, likewise.
    pub(super) fn retrans_time(&self, interface: InterfaceId, v6: bool) -> Duration {
        let said = self.interface(interface).and_then(|at| at.routers.retrans_time).filter(|_| v6);
        said.unwrap_or(self.settings.neigh_retrans_time)
    }

    /// Runs an entry's timer.
    pub(super) fn on_neighbour_timer(&mut self, now: Instant, index: u32, generation: u32) {
        let at = NeighbourRef { index, generation };
        let delay = self.settings.neigh_delay_first_probe_time;
        let keep = self.settings.neigh_gc_stale_time;
        let Some((interface, v6)) = self.neighbours.link_of(at) else { return };
        let base = self.base_reachable_time(interface, v6);
        let (broadcasts, unicasts) = (self.settings.neigh_mcast_solicit, self.settings.neigh_ucast_solicit);
        let Some(entry) = self.neighbours.get(at) else { return };
        let (used, confirmed, probes) = (entry.used, entry.confirmed, entry.probes);
        match entry.state {
            NeighbourState::Incomplete if probes < broadcasts => self.solicit(now, at),
            NeighbourState::Probe if probes < unicasts => self.solicit(now, at),
            NeighbourState::Incomplete | NeighbourState::Probe => self.neighbour_failed(now, at),
            NeighbourState::Reachable if now < confirmed + base => {
                self.set_state(at, NeighbourState::Reachable, Some(confirmed + base));
            }
            NeighbourState::Reachable if now < used + delay => {
                self.set_state(at, NeighbourState::Delay, Some(now + delay));
            }
            NeighbourState::Reachable => self.set_state(at, NeighbourState::Stale, Some(now + keep)),
            NeighbourState::Delay => {
                entry.probes = 0;
                entry.state = NeighbourState::Probe;
                self.solicit(now, at);
            }
            NeighbourState::Stale if now < used + keep => {
                self.set_state(at, NeighbourState::Stale, Some(used + keep));
            }
            NeighbourState::Stale | NeighbourState::Failed => self.forget(at),
            NeighbourState::Permanent => {}
        }
    }

    /// Gives a neighbour up: what waited is dropped, each with a host unreachable to its sender, which is ourselves (RFC 1122
    /// §3.2.2.1, as Linux's arp_error_report).
    fn neighbour_failed(&mut self, now: Instant, at: NeighbourRef) {
        let Some(entry) = self.neighbours.get(at) else { return };
        let (interface, address) = (entry.interface, entry.address);
        let gateway = self.routes.has_gateway(interface, address);
        let keep = if gateway { GATEWAY_RETRY } else { self.settings.neigh_gc_stale_time };
        self.set_state(at, NeighbourState::Failed, Some(now + keep));
        if gateway {
            self.destinations.clear();
        }
        let Some(entry) = self.neighbours.get(at) else { return };
        for packet in core::mem::take(&mut entry.waiting) {
            self.counters.drop(DropReason::NeighbourFailed);
            self.tell_host_unreachable(now, interface, packet);
        }
        self.router_reachability(interface, address, false);
    }

    /// A neighbour told its MAC address. `answer`: it was asked to (an ARP reply to us), which confirms that it is reachable;
    /// otherwise it is only likely. `create`: make an entry if there is none.
    pub(super) fn learn_neighbour(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        mac: MacAddr,
        answer: bool,
        create: bool,
    ) {
        let known = self.neighbours.find(interface, address);
        let at = match known {
            Some(at) => at,
            None if create => match self.new_neighbour(now, interface, address) {
                Some(at) => at,
                None => return,
            },
            None => return,
        };
        let locktime = self.settings.neigh_locktime;
        let keep = self.settings.neigh_gc_stale_time;
        let Some(entry) = self.neighbours.get(at) else { return };
        let valid = !matches!(entry.state, NeighbourState::Incomplete | NeighbourState::Failed);
        let changed = entry.mac != mac;
        // Of several answers the first counts for a while: with proxies the best is often the fastest.
        if entry.state == NeighbourState::Permanent || (valid && answer && changed && now < entry.updated + locktime) {
            return;
        }
        if changed || !valid {
            entry.updated = now;
        }
        entry.mac = mac;
        if entry.state == NeighbourState::Failed && self.routes.has_gateway(interface, address) {
            self.destinations.clear();
        }
        if answer {
            self.set_reachable(now, at);
        } else if changed || !valid {
            self.set_state(at, NeighbourState::Stale, Some(now + keep));
        }
        self.send_waiting(now, at, mac);
    }

    /// A neighbour advertisement about `address` (RFC 4861 §7.2.5).
    pub(super) fn neighbour_advertised(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        mac: Option<MacAddr>,
        flags: AdvertisementFlags,
    ) {
        // What nobody asked for is not learnt.
        let Some(at) = self.neighbours.find(interface, address) else { return };
        let Some(entry) = self.neighbours.get(at) else { return };
        let keep = self.settings.neigh_gc_stale_time;
        let solicited = flags.contains(AdvertisementFlags::SOLICITED);
        let is_router = flags.contains(AdvertisementFlags::ROUTER);
        let changed = mac.is_some_and(|mac| mac != entry.mac);
        match entry.state {
            NeighbourState::Permanent | NeighbourState::Failed => return,
            NeighbourState::Incomplete if mac.is_none() => return,
            NeighbourState::Incomplete => {}
            state if changed && !flags.contains(AdvertisementFlags::OVERRIDE) => {
                if state == NeighbourState::Reachable {
                    self.set_state(at, NeighbourState::Stale, Some(now + keep));
                }
                return;
            }
            _ => {}
        }
        let incomplete = entry.state == NeighbourState::Incomplete;
        if let Some(mac) = mac.filter(|_| changed || incomplete) {
            entry.mac = mac;
            entry.updated = now;
        }
        let mac = entry.mac;
        let was_router = core::mem::replace(&mut entry.router, is_router);
        if solicited {
            self.set_reachable(now, at);
        } else if changed || incomplete {
            self.set_state(at, NeighbourState::Stale, Some(now + keep));
        }
        self.send_waiting(now, at, mac);
        if was_router && !is_router {
            self.forget_router(now, interface, address);
        }
        // RFC 4861 §7.3.1: only an answer confirms.
        if solicited {
            self.router_reachability(interface, address, true);
        }
    }

    /// Notes that a neighbour is a router: it advertised itself, or is the target of a redirect (RFC 4861 §6.3.4, §8.3).
    pub(super) fn neighbour_is_router(&mut self, interface: InterfaceId, address: IpAddr) {
        if let Some(at) = self.neighbours.find(interface, address)
            && let Some(entry) = self.neighbours.get(at)
        {
            entry.router = true;
        }
    }

    fn send_waiting(&mut self, now: Instant, at: NeighbourRef, mac: MacAddr) {
        let Some(entry) = self.neighbours.get(at) else { return };
        let (interface, v6) = (entry.interface, entry.address.is_ipv6());
        if entry.waiting.is_empty() {
            return;
        }
        entry.used = now;
        for packet in core::mem::take(&mut entry.waiting) {
            // A full queue counts its own drops.
            let _ = self.transmit_ip(interface, mac, v6, packet);
        }
    }

    /// All neighbours.
    pub fn neighbour_list(&self) -> Vec<NeighbourInfo> {
        self.neighbours.list()
    }

    /// Sets a neighbour for good, or forgets it (`None`).
    pub fn set_neighbour(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        mac: Option<MacAddr>,
    ) -> Result<()> {
        let known = self.neighbours.find(interface, address);
        let Some(mac) = mac else {
            self.forget(known.ok_or(Error::InvalidArgument)?);
            return Ok(());
        };
        let at = match known {
            Some(at) => at,
            None => self.new_neighbour(now, interface, address).ok_or(Error::NoBuffers)?,
        };
        if let Some(entry) = self.neighbours.get(at) {
            entry.mac = mac;
        }
        self.set_state(at, NeighbourState::Permanent, None);
        self.send_waiting(now, at, mac);
        Ok(())
    }
}
