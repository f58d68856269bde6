//! IP identification (RFC 6864): atomic datagrams carry 0; others a counter kept by a keyed hash of addresses and protocol.
//!
//! A counter also jumps by a random part of the milliseconds since it was used, so that it does not tell an observer how much the
//! host sends elsewhere (as Linux does).

use core::hash::BuildHasher;
use core::net::Ipv4Addr;

use foldhash::fast::FixedState;
use wireway_packet::Instant;

use crate::rng::Rng;

const COUNTERS: usize = 2048;

/// The counters.
pub(super) struct Idents {
    counters: Box<[(u16, u32)]>,
    hash: FixedState,
}

impl Idents {
    pub fn new(rng: &mut Rng) -> Idents {
        Idents { counters: vec![(0, 0); COUNTERS].into_boxed_slice(), hash: rng.hash_state() }
    }

    /// The first of `count` identifications that follow one another.
    pub fn take(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        count: u16,
    ) -> u16 {
        let hash = self.hash.hash_one((source.to_bits(), destination.to_bits(), protocol));
        let millis = now.as_millis() as u32;
        let (counter, used) = &mut self.counters[hash as usize % COUNTERS];
        let elapsed = millis.wrapping_sub(core::mem::replace(used, millis));
        *counter = counter.wrapping_add(rng.below(elapsed) as u16);
        // Who shares the counter does not share where it began.
        let first = counter.wrapping_add((hash >> 48) as u16);
        *counter = counter.wrapping_add(count);
        first
    }
}
