//! The engine's clock: CLOCK_MONOTONIC since the engine was made.

use rustix::time::{ClockId, Timespec, clock_gettime};
use wireway_packet::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: u64,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { start: nanos(clock_gettime(ClockId::Monotonic)) }
    }

    pub fn read(&self) -> Instant {
        Instant::from_nanos(nanos(clock_gettime(ClockId::Monotonic)).saturating_sub(self.start))
    }

    /// CLOCK_REALTIME at this clock's zero, in nanoseconds since 1970.
    pub fn epoch(&self) -> u64 {
        let real = nanos(clock_gettime(ClockId::Realtime));
        real.saturating_sub(self.read().as_nanos())
    }
}

fn nanos(time: Timespec) -> u64 {
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}
