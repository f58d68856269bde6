//! Secrets and what is derived from them: initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 §5.4) from one hash of
//! the flow, and the choice among listeners that share a port.

use siphasher::sip::SipHasher24;
use wireway_packet::Instant;
use wireway_wire::SeqNumber;

use super::flow::Flow;

/// Where a connection's numbers begin.
#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    /// The initial sequence number.
    pub iss: SeqNumber,
    /// What is added to the timestamp clock.
    pub ts_offset: u32,
}

/// The host's TCP secrets.
pub(crate) struct Secrets {
    flow: SipHasher24,
    reuse_port: SipHasher24,
}

impl Secrets {
    /// Secrets from 64-bit random words.
    pub fn new(mut random: impl FnMut() -> u64) -> Secrets {
        let mut key = || SipHasher24::new_with_keys(random(), random());
        Secrets { flow: key(), reuse_port: key() }
    }

    /// Where a connection's numbers begin.
    ///
    /// The sequence number: ISN = M + F(flow, secret), where M is a clock of 64 ns ticks (Linux's; RFC 6528 §3 suggests 4 µs, which a fast
    /// network outruns). The timestamp offset is the same for a flow whenever it is opened, so that the clock keeps growing over successive
    /// connections (RFC 6191 relies on it); it tells nobody the host's age, nor anything of other flows.
    pub fn numbers(&self, flow: &Flow, now: Instant) -> Numbers {
        let hash = flow.keyed_hash(&self.flow);
        let clock = (now.as_nanos() >> 6) as u32;
        Numbers { iss: SeqNumber((hash as u32).wrapping_add(clock)), ts_offset: (hash >> 32) as u32 }
    }

    /// Which of several SO_REUSEPORT listeners takes a flow.
    pub fn listener_choice(&self, flow: &Flow) -> u32 {
        flow.keyed_hash(&self.reuse_port) as u32
    }
}
