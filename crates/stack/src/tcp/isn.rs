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

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::super::flow::Endpoint;
    use super::*;
    use crate::InterfaceId;

    fn secrets(mut word: u64) -> Secrets {
        Secrets::new(|| {
            word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            word
        })
    }

    fn end(address: &str, port: u16) -> Endpoint {
        Endpoint::new(address.parse().unwrap(), port)
    }

    /// RFC 6528 §3: for one flow the number follows the clock, so that a new connection's are beyond the old one's; nobody who sees one flow's
    /// can tell another's.
    #[test]
    fn numbers_follow_the_clock_in_a_flow_and_tell_nothing_of_others() {
        for (ours, theirs, other) in [("10.0.0.1", "10.0.0.2", "10.0.0.3"), ("fd00::1", "fd00::2", "fd00::3")] {
            let secret = secrets(1);
            let (start, later) =
                (Instant::from_millis(1_000), Instant::from_millis(1_000) + Duration::from_micros(640));
            let flow = Flow::new(end(ours, 4000), end(theirs, 80), InterfaceId(1));
            let first = secret.numbers(&flow, start);
            let again = secret.numbers(&flow, later);
            assert_eq!(again.iss.0.wrapping_sub(first.iss.0), 10_000);
            assert_eq!(again.ts_offset, first.ts_offset);

            let mut seen = vec![(first.iss.0, first.ts_offset)];
            for flow in [
                Flow { local: end(ours, 4001), ..flow },
                Flow { remote: end(theirs, 81), ..flow },
                Flow { remote: end(other, 80), ..flow },
                Flow { local: end(other, 4000), ..flow },
                Flow { local: flow.remote, remote: flow.local, ..flow },
            ] {
                let numbers = secret.numbers(&flow, start);
                seen.push((numbers.iss.0, numbers.ts_offset));
            }
            let elsewhere = secrets(2).numbers(&flow, start);
            seen.push((elsewhere.iss.0, elsewhere.ts_offset));
            for (i, a) in seen.iter().enumerate() {
                for b in &seen[..i] {
                    assert!(a.0.abs_diff(b.0) > 1_000 && a.1.abs_diff(b.1) > 1_000, "{seen:?}");
                }
            }
        }
    }
}
