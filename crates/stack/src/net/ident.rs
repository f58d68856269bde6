//! IP identification (RFC 6864, RFC 7739 §5.3): atomic datagrams carry 0 or none; others a counter kept by a keyed hash of addresses and
//! protocol. IPv4 sends the lower half of it.
//!
//! A counter also jumps by a random part of the milliseconds since it was used, so that it does not tell an observer how much the
//! host sends elsewhere (as Linux does).

use core::hash::BuildHasher;
use core::net::IpAddr;

use foldhash::fast::FixedState;
use wireway_packet::Instant;

use crate::rng::Rng;

const COUNTERS: usize = 2048;

/// The counters.
pub(super) struct Idents {
    counters: Box<[(u32, u32)]>,
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
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        count: u16,
    ) -> u32 {
        let hash = self.hash.hash_one((source, destination, protocol));
        let millis = now.as_millis() as u32;
        let (counter, used) = &mut self.counters[hash as usize % COUNTERS];
        let elapsed = millis.wrapping_sub(core::mem::replace(used, millis));
        *counter = counter.wrapping_add(rng.below(elapsed));
        // Who shares the counter does not share where it began.
        let first = counter.wrapping_add((hash >> 32) as u32);
        *counter = counter.wrapping_add(count.into());
        first
    }
}
