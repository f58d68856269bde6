//! Putting fragments together again (RFC 791 §3.2, RFC 815; RFC 8200 §4.5), bounded in memory and time.
//!
//! As Linux does and RFC 815 does not: a fragment that lies wholly within what is there already is dropped as a duplicate, and one that overlaps in part condemns
//! the whole datagram, because only an attack makes such (RFC 5722 asks the same of IPv6).
//!
//! A fragment comes with what its header says of it ([`Piece`]); what is in front of the whole's payload is for the family's own file to
//! put right (`ipv4.rs`, `ipv6.rs`).

use core::net::IpAddr;
use std::collections::BTreeMap;

use slab::Slab;
use wireway_packet::{Checksum, Instant, Packet};

use super::{Inbound, Net};
use crate::counters::{Counter, DropReason};
use crate::rng::{Map, Rng};
use crate::timer::{Timer, TimerKey};

/// RFC 791: the fragments of a datagram share these; of IPv6 the protocol is not one of them (RFC 8200 §4.5). Also the interface, so that
/// two links cannot disturb each other.
type Key = (IpAddr, IpAddr, u8, u32, crate::InterfaceId);

/// What a datagram holds besides its fragments, and each fragment besides its packet: so that tiny ones do not hold many times what is counted (Linux
/// counts the memory of a packet with all that belongs to it).
const PER_DATAGRAM: usize = 2 * size_of::<Datagram>();
const PER_FRAGMENT: usize = 2 * size_of::<(u16, Packet)>();

/// What a fragment's header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub ident: u32,
    /// Bytes of the datagram in front of the fragment's.
    pub offset: u16,
    pub more: bool,
    /// What must fit the longest datagram together with the payload: IPv4's header.
    pub header_len: usize,
}

/// A datagram of which some fragments came.
struct Datagram {
    key: Key,
    generation: u32,
    timer: Timer,
    /// Payloads by their offset. None overlaps another.
    parts: BTreeMap<u16, Packet>,
    /// Payload bytes in `parts`.
    received: usize,
    /// Where the payload ends: known once `last` came, else as far as is known.
    end: usize,
    last: bool,
    /// What the fragment with offset 0 brought besides payload.
    first: Option<Inbound>,
    /// Bits 1 << ECN field of all fragments.
    ecn: u8,
    memory: usize,
}

/// What waits for fragments.
pub(super) struct Reassembly {
    by_key: Map<Key, u32>,
    datagrams: Slab<Datagram>,
    memory: usize,
    next_generation: u32,
}

impl Reassembly {
    pub fn new(rng: &mut Rng) -> Reassembly {
        Reassembly { by_key: rng.map(), datagrams: Slab::new(), memory: 0, next_generation: 0 }
    }

    fn remove(&mut self, index: u32) -> Option<Datagram> {
        let datagram = self.datagrams.try_remove(index as usize)?;
        self.by_key.remove(&datagram.key);
        self.memory -= datagram.memory;
        Some(datagram)
    }

    /// Datagrams that wait for fragments.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Bytes of memory that waiting fragments hold.
    pub fn memory(&self) -> usize {
        self.memory
    }
}

/// What became of a fragment.
enum Verdict {
    Kept,
    Duplicate,
    /// The datagram is dropped too.
    Overlap,
    Malformed,
}

impl Datagram {
    /// Puts a fragment in its place.
    fn insert(&mut self, piece: &Piece, tos: u8, mut payload: Packet) -> Verdict {
        let offset = usize::from(piece.offset);
        let mut end = offset + payload.len();
        if piece.more {
            // What is no multiple of eight is not looked at.
            end &= !7;
            payload.truncate(end.saturating_sub(offset));
            if self.last && end > self.end {
                return Verdict::Malformed;
            }
        } else if end < self.end || (self.last && end != self.end) {
            return Verdict::Malformed;
        }
        if end <= offset || end + piece.header_len > usize::from(u16::MAX) {
            // Empty, or beyond the longest datagram there is (the "ping of death").
            return Verdict::Malformed;
        }
        let before = self.parts.range(..=offset as u16).next_back().map(|(&at, p)| (usize::from(at), p.len()));
        let after = self.parts.range(offset as u16..).next().map(|(&at, _)| usize::from(at));
        let covered_until = before.map_or(0, |(at, len)| at + len);
        if covered_until > offset || after.is_some_and(|after| after < end) {
            return if self.covers(offset, end) { Verdict::Duplicate } else { Verdict::Overlap };
        }
        self.last |= !piece.more;
        self.end = self.end.max(end);
        self.received += payload.len();
        self.memory += payload.true_size() + PER_FRAGMENT;
        self.ecn |= 1 << (tos & 3);
        self.parts.insert(offset as u16, payload);
        Verdict::Kept
    }

    /// Whether all bytes from `from` to `to` are there.
    fn covers(&self, from: usize, to: usize) -> bool {
        let mut reached = from;
        let start = self.parts.range(..=from as u16).next_back().map_or(0, |(&at, _)| at);
        for (&at, part) in self.parts.range(start..) {
            if usize::from(at) > reached || reached >= to {
                break;
            }
            reached = reached.max(usize::from(at) + part.len());
        }
        reached >= to
    }

    fn is_whole(&self) -> bool {
        self.last && self.received == self.end && self.first.is_some()
    }

    /// The ECN field of the whole (RFC 3168 §5.3), or `None` if the fragments contradict each other.
    fn ecn(&self) -> Option<u8> {
        match self.ecn {
            0b0001 => Some(0),
            // Mixed ones say the same; the first fragment's is taken, as by Linux.
            0b0010 | 0b0100 | 0b0110 => self.first.as_ref().map(|first| first.tos & 3),
            // Some were marked, and none was without ECN.
            bits if bits & 0b1001 == 0b1000 => Some(3),
            _ => None,
        }
    }
}

impl Net {
    /// Takes a fragment in. Once all are there the whole datagram comes back, with the first fragment's header and options.
    pub(super) fn reassemble(&mut self, now: Instant, piece: Piece, mut fragment: Inbound) -> Option<Inbound> {
        let v6 = fragment.header.is_v6();
        self.counters.count(Counter::IpReasmReqds.of_family(v6));
        let protocol = if v6 { 0 } else { fragment.protocol };
        let key = (fragment.source(), fragment.destination(), protocol, piece.ident, fragment.interface);
        let known = self.reassembly.by_key.get(&key).copied();
        let options = fragment.options.as_ref().map_or(0, |options| options.len());
        let new = if known.is_some() { 0 } else { PER_DATAGRAM };
        let needed = fragment.packet.true_size() + PER_FRAGMENT + options + new;
        let over = self.reassembly.memory + needed > self.settings.ipfrag_high_thresh;
        if over {
            self.counters.count(Counter::IpReasmFails.of_family(v6));
            self.drop_packet(DropReason::FragmentMemory, fragment.packet);
            return None;
        }
        let index = known.unwrap_or_else(|| self.new_datagram(now, key));
        let payload = core::mem::take(&mut fragment.packet);
        let datagram = self.reassembly.datagrams.get_mut(index as usize)?;
        let before = datagram.memory;
        let verdict = datagram.insert(&piece, fragment.tos, payload);
        self.reassembly.memory += datagram.memory - before;
        match verdict {
            Verdict::Kept => {
                if piece.offset == 0 {
                    datagram.memory += options;
                    self.reassembly.memory += options;
                    datagram.first = Some(fragment);
                }
                if !datagram.is_whole() {
                    return None;
                }
            }
            Verdict::Duplicate => {
                self.counters.drop(DropReason::DuplicateFragment);
                return None;
            }
            Verdict::Overlap => {
                self.counters.count(Counter::IpExtReasmOverlaps);
                self.counters.drop(DropReason::FragmentOverlap);
                self.condemn(index, DropReason::FragmentOverlap);
                return None;
            }
            Verdict::Malformed => {
                self.counters.drop(DropReason::FragmentMalformed);
                self.condemn(index, DropReason::FragmentMalformed);
                return None;
            }
        }
        let mut datagram = self.reassembly.remove(index)?;
        self.timers.cancel(&mut datagram.timer);
        let ecn = datagram.ecn();
        let mut whole = datagram.first.take()?;
        let Some(ecn) = ecn else {
            self.counters.count(Counter::IpReasmFails.of_family(v6));
            self.count_parts(&datagram, DropReason::FragmentMalformed);
            return None;
        };
        let mut parts = datagram.parts.into_values();
        let mut packet = parts.next()?;
        for part in parts {
            packet.chain_packet(part);
        }
        // What a device said of one fragment says nothing of the whole.
        packet.offload_mut().checksum = Checksum::Complete;
        packet.offload_mut().segmentation = None;
        whole.tos = whole.tos & !3 | ecn;
        whole.packet = packet;
        self.counters.count(Counter::IpReasmOks.of_family(v6));
        Some(whole)
    }

    fn new_datagram(&mut self, now: Instant, key: Key) -> u32 {
        let table = &mut self.reassembly;
        table.next_generation = table.next_generation.wrapping_add(1);
        let generation = table.next_generation;
        let v6 = key.0.is_ipv6();
        let wait = if v6 { self.settings.ip6frag_time } else { self.settings.ipfrag_time };
        let mut timer = Timer::default();
        let index = table.datagrams.vacant_key() as u32;
        self.timers.arm(&mut timer, now + wait, TimerKey::Reassembly { index, generation });
        table.datagrams.insert(Datagram {
            key,
            generation,
            timer,
            parts: BTreeMap::new(),
            received: 0,
            end: 0,
            last: false,
            first: None,
            ecn: 0,
            memory: PER_DATAGRAM,
        });
        table.memory += PER_DATAGRAM;
        table.by_key.insert(key, index);
        index
    }

    /// Drops a datagram with all its fragments.
    fn condemn(&mut self, index: u32, reason: DropReason) {
        let Some(mut datagram) = self.reassembly.remove(index) else { return };
        self.timers.cancel(&mut datagram.timer);
        self.counters.count(Counter::IpReasmFails.of_family(datagram.key.0.is_ipv6()));
        self.count_parts(&datagram, reason);
    }

    fn count_parts(&mut self, datagram: &Datagram, reason: DropReason) {
        for _ in &datagram.parts {
            self.counters.drop(reason);
        }
    }

    /// Gives a datagram up whose fragments did not all come; its sender hears of it if the first one did (RFC 792).
    pub(super) fn on_reassembly_timer(&mut self, now: Instant, index: u32, generation: u32) {
        let matches = |d: &Datagram| d.generation == generation;
        if !self.reassembly.datagrams.get(index as usize).is_some_and(matches) {
            return;
        }
        let Some(mut datagram) = self.reassembly.remove(index) else { return };
        let v6 = datagram.key.0.is_ipv6();
        self.counters.count(Counter::IpReasmTimeout.of_family(v6));
        self.counters.count(Counter::IpReasmFails.of_family(v6));
        self.count_parts(&datagram, DropReason::FragmentTimeout);
        if let Some(mut first) = datagram.first.take()
            && let Some(packet) = datagram.parts.remove(&0)
        {
            first.packet = packet;
            self.tell_reassembly_timeout(now, first);
        }
    }
}
