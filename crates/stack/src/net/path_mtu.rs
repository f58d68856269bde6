//! Path MTUs learnt from ICMP (RFC 1191, RFC 8201): a bounded table whose entries expire.
//!
//! Nobody writes here but a transport that found the quotation of its own packet in the error (RFC 5927 §7).

use core::net::IpAddr;

use slab::Slab;
use wireway_packet::Instant;

use super::Net;
use super::ipv6::MIN_MTU;
use crate::rng::{Map, Rng};
use crate::timer::{Timer, TimerKey};

/// Entries at most; beyond that nothing new is learnt until old ones expire.
const LIMIT: usize = 4096;

struct Entry {
    destination: IpAddr,
    mtu: u16,
    generation: u32,
    timer: Timer,
}

/// The table.
pub(super) struct PathMtus {
    by_destination: Map<IpAddr, u32>,
    entries: Slab<Entry>,
    next_generation: u32,
}

impl PathMtus {
    pub fn new(rng: &mut Rng) -> PathMtus {
        PathMtus { by_destination: rng.map(), entries: Slab::new(), next_generation: 0 }
    }

    /// Entries in the table.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The MTU that an error told of the path to `destination`. It may be smaller than is believed.
    pub fn get(&self, destination: IpAddr) -> Option<u16> {
        let index = *self.by_destination.get(&destination)?;
        self.entries.get(index as usize).map(|e| e.mtu)
    }
}

impl Net {
    /// Notes that the path to `destination` carries packets of at most `mtu` bytes (RFC 1191), as an ICMP error said whose
    /// quotation the transport found to be its own. Forgotten after `ip_rt_mtu_expires`. It only ever shrinks before that.
    pub fn learn_path_mtu(&mut self, now: Instant, destination: IpAddr, mtu: u16) {
        let Ok(known) = self.route(destination, None).map(|r| r.mtu) else { return };
        let believed = mtu.max(self.least_path_mtu(destination));
        // A larger one is no news (an attack, or an old message); the same is a refresh.
        if believed > known || (believed == known && self.path_mtus.get(destination).is_none()) {
            return;
        }
        let table = &mut self.path_mtus;
        let index = match table.by_destination.get(&destination) {
            Some(&index) => index,
            None => {
                table.next_generation = table.next_generation.wrapping_add(1);
                if table.entries.len() >= LIMIT {
                    // One makes room, each in its turn: errors that an attacker made up must not keep true ones out.
                    let victim = table.next_generation as usize % LIMIT;
                    if let Some(mut old) = table.entries.try_remove(victim) {
                        table.by_destination.remove(&old.destination);
                        self.timers.cancel(&mut old.timer);
                    }
                }
                let generation = table.next_generation;
                let index =
                    table.entries.insert(Entry { destination, mtu, generation, timer: Timer::default() }) as u32;
                table.by_destination.insert(destination, index);
                index
            }
        };
        let Some(entry) = table.entries.get_mut(index as usize) else { return };
        entry.mtu = mtu;
        let key = TimerKey::PathMtu { index, generation: entry.generation };
        self.timers.arm(&mut entry.timer, now + self.settings.ip_rt_mtu_expires, key);
        self.destinations.clear();
    }

    /// The least MTU that is believed of a path: a setting, and of IPv6 what every link carries (RFC 8201 §4).
    pub(super) fn least_path_mtu(&self, destination: IpAddr) -> u16 {
        if destination.is_ipv6() { MIN_MTU } else { self.settings.ip_rt_min_pmtu }
    }

    /// Forgets an entry whose time is over (RFC 1191 §6.3).
    pub(super) fn on_path_mtu_timer(&mut self, index: u32, generation: u32) {
        if self.path_mtus.entries.get(index as usize).is_some_and(|e| e.generation == generation) {
            let entry = self.path_mtus.entries.remove(index as usize);
            self.path_mtus.by_destination.remove(&entry.destination);
            self.destinations.clear();
        }
    }
}
