//! Secrets and what is derived from them: initial sequence numbers (RFC 6528), timestamp offsets (RFC 7323 §5.4), and
//! the choice among listeners that share a port.

use siphasher::sip::SipHasher24;
use wireway_packet::Instant;
use wireway_wire::SeqNumber;

use super::flow::{Endpoint, Flow};

/// The host's TCP secrets.
pub(crate) struct Secrets {
    isn: SipHasher24,
    timestamp: SipHasher24,
    reuse_port: SipHasher24,
}

impl Secrets {
    /// Secrets from 64-bit random words.
    pub fn new(mut random: impl FnMut() -> u64) -> Secrets {
        let mut key = || SipHasher24::new_with_keys(random(), random());
        Secrets { isn: key(), timestamp: key(), reuse_port: key() }
    }

    /// The initial sequence number of a connection: ISN = M + F(flow, secret), where M is a clock of 64 ns ticks (Linux's; RFC
    /// 6528 §3 suggests 4 µs, which a fast network outruns).
    pub fn isn(&self, flow: &Flow, now: Instant) -> SeqNumber {
        SeqNumber((flow.keyed_hash(&self.isn) as u32).wrapping_add((now.as_nanos() >> 6) as u32))
    }

    /// What is added to the timestamp clock towards this peer: per pair of addresses, so that the clock keeps growing over
    /// successive connections (RFC 6191 relies on it) and tells nobody the host's age.
    pub fn timestamp_offset(&self, flow: &Flow) -> u32 {
        let pair = Flow { local: Endpoint::new(flow.local.address, 0), remote: Endpoint::new(flow.remote.address, 0) };
        pair.keyed_hash(&self.timestamp) as u32
    }

    /// Which of several SO_REUSEPORT listeners takes a flow.
    pub fn listener_choice(&self, flow: &Flow) -> u32 {
        flow.keyed_hash(&self.reuse_port) as u32
    }
}
