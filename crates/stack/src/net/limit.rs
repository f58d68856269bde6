//! Rate limits of outgoing ICMP (RFC 1812 §4.3.2.8, RFC 4443 §2.4 (f)), as Linux has them, for both families: one token bucket for all, and one a destination.

use core::hash::BuildHasher;
use core::net::IpAddr;
use core::time::Duration;

use foldhash::fast::FixedState;
use wireway_packet::Instant;

use crate::Settings;
use crate::counters::{Counter, Counters};
use crate::rng::Rng;

/// Buckets by a keyed hash of the destination: bounded memory, and two destinations that share one only share its limit.
const BUCKETS: usize = 1024;
/// Messages to one destination in a burst (Linux's XRLIM_BURST_FACTOR).
const BURST: u32 = 6;

/// The state of the limits.
pub(super) struct IcmpLimits {
    hash: FixedState,
    /// Time saved up, in nanoseconds, and when that was.
    buckets: Box<[(u64, Instant)]>,
    credit: u32,
    refilled: Instant,
}

impl IcmpLimits {
    pub fn new(rng: &mut Rng) -> IcmpLimits {
        let buckets = vec![(u64::MAX / 2, Instant::ZERO); BUCKETS].into_boxed_slice();
        IcmpLimits { hash: rng.hash_state(), buckets, credit: u32::MAX, refilled: Instant::ZERO }
    }

    /// Whether a message of a type that is limited may be sent now; if not it is counted.
    pub fn allow(&mut self, now: Instant, settings: &Settings, counters: &mut Counters, destination: IpAddr) -> bool {
        if !self.allow_any(now, settings) {
            counters.count(Counter::IcmpOutRateLimitGlobal);
            return false;
        }
        let cost = nanos(settings.icmp_ratelimit);
        let (saved, at) = &mut self.buckets[self.hash.hash_one(destination) as usize % BUCKETS];
        let have = saved.saturating_add(nanos(now.since(*at))).min(cost.saturating_mul(BURST.into()));
        *at = now;
        let allowed = have >= cost;
        *saved = if allowed { have - cost } else { have };
        if !allowed {
            counters.count(Counter::IcmpOutRateLimitHost.of_family(destination.is_ipv6()));
            self.credit = self.credit.saturating_add(1);
        }
        allowed
    }

    fn allow_any(&mut self, now: Instant, settings: &Settings) -> bool {
        let elapsed = now.since(self.refilled).min(Duration::from_secs(1));
        let refill = (elapsed.as_nanos() * u128::from(settings.icmp_msgs_per_sec) / 1_000_000_000) as u32;
        if refill > 0 {
            self.refilled = now;
        }
        self.credit = self.credit.saturating_add(refill).min(settings.icmp_msgs_burst);
        let allowed = self.credit > 0;
        self.credit = self.credit.saturating_sub(1);
        allowed
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
