//! One exchange with servers: its transaction, and when to send again.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;
use wireway_packet::Instant;

// RFC 2131 §4.1.
const FIRST_WAIT: Duration = Duration::from_secs(4);
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// The wait differs by up to so much either way.
const JITTER: Duration = Duration::from_secs(1);
/// §4.4.5: while a lease lasts, not more often.
const LEAST_PAUSE: Duration = Duration::from_secs(60);

/// An exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    /// The transaction's number.
    pub xid: u32,
    /// When the message was sent that the lease's time is to be counted from.
    pub sent: Instant,
    /// When to send again.
    pub next: Instant,
    /// How often it was sent.
    pub tries: u32,
}

impl Exchange {
    /// An exchange whose first message is to be sent now.
    pub fn new(now: Instant, rng: &mut ChaCha8Rng) -> Exchange {
        Exchange { xid: rng.next_u32(), sent: now, next: now, tries: 0 }
    }

    /// A message was sent: 4, 8, 16, 32, 64, 64 … seconds ± 1 to the next (§4.1).
    pub fn back_off(&mut self, now: Instant, rng: &mut ChaCha8Rng) {
        self.next = now + back_off(self.tries, rng);
        self.tries += 1;
    }

    /// A message was sent by a client that may use its address until `end`: half of what is left to the next, but at least a minute
    /// (§4.4.5). An answer to this message will tell so by its number, and the time of the lease is counted from here.
    pub fn halve(&mut self, now: Instant, end: Instant) {
        self.sent = now;
        self.tries += 1;
        self.next = now + (end.since(now) / 2).max(LEAST_PAUSE);
    }
}

/// How long to wait after so many attempts.
pub(crate) fn back_off(tries: u32, rng: &mut ChaCha8Rng) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(1 << tries.min(8)).min(LONGEST_WAIT);
    wait - JITTER + (2 * JITTER) * (rng.next_u32() >> 16) / (1 << 16)
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn waits_grow_and_differ() {
        let mut rng = ChaCha8Rng::from_seed([1; 32]);
        for (tries, seconds) in [(0, 4), (1, 8), (2, 16), (3, 32), (4, 64), (5, 64), (u32::MAX, 64)] {
            let waits: Vec<f64> = (0..50).map(|_| back_off(tries, &mut rng).as_secs_f64()).collect();
            let (low, high) = (f64::from(seconds) - 1.0, f64::from(seconds) + 1.0);
            assert!(waits.iter().all(|w| (low..=high).contains(w)), "{waits:?}");
            assert!(waits.iter().any(|w| *w < low + 0.5) && waits.iter().any(|w| *w > high - 0.5), "{waits:?}");
        }
    }
}
