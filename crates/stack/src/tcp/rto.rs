//! The retransmission time-out (RFC 6298), with Linux's bounds: the variance term is at least 200 ms (the RFC rounds the whole up
//! to one second, "but MAY" be finer with a fine clock, §2.4), and the time-out at most 120 s.

use core::time::Duration;

use wireway_packet::Instant;

/// The least that the time-out exceeds the smoothed round-trip time by (Linux's TCP_RTO_MIN).
pub(crate) const RTO_MIN: Duration = Duration::from_millis(200);
/// The largest time-out, after all backing off (Linux's TCP_RTO_MAX; RFC 6298 §2.5 asks for at least 60 s).
pub(crate) const RTO_MAX: Duration = Duration::from_secs(120);
/// The time-out before anything was measured (RFC 6298 §2.1).
pub(crate) const RTO_INITIAL: Duration = Duration::from_secs(1);
/// The time-out after a SYN was retransmitted (RFC 6298 §5.7).
pub(crate) const RTO_AFTER_SYN_LOSS: Duration = Duration::from_secs(3);

/// Round-trip times as measured, and the time-out that follows from them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RttEstimator {
    /// Smoothed round-trip time and variance in nanoseconds; zero before the first sample.
    srtt: u64,
    rttvar: u64,
    min: u64,
    /// Before backing off, in nanoseconds.
    rto: u64,
    /// How often the time-out was doubled (RFC 6298 §5.5).
    pub backoff: u8,
}

impl RttEstimator {
    pub fn new() -> RttEstimator {
        RttEstimator { srtt: 0, rttvar: 0, min: 0, rto: RTO_INITIAL.as_nanos() as u64, backoff: 0 }
    }

    /// Takes in one measured round trip (RFC 6298 §2.2, §2.3). The caller keeps Karn's rule: never of a retransmitted
    /// segment, unless timestamps tell which copy was acknowledged.
    pub fn sample(&mut self, rtt: Duration) {
        self.sample_nanos(rtt.as_nanos() as u64);
    }

    /// As [`sample`](Self::sample), in nanoseconds.
    pub fn sample_nanos(&mut self, rtt: u64) {
        let rtt = rtt.max(1);
        // Only a valid sample ends backing off (RFC 6298 §5.7's last paragraph, Karn).
        self.backoff = 0;
        if self.srtt == 0 {
            self.srtt = rtt;
            self.rttvar = rtt / 2;
            self.min = rtt;
        } else {
            let error = self.srtt.abs_diff(rtt);
            self.rttvar = self.rttvar - self.rttvar / 4 + error / 4;
            self.srtt = self.srtt - self.srtt / 8 + rtt / 8;
            self.min = self.min.min(rtt);
        }
        let variance = self.rttvar.saturating_mul(4).max(RTO_MIN.as_nanos() as u64);
        self.rto = self.srtt.saturating_add(variance).min(RTO_MAX.as_nanos() as u64);
    }

    /// The handshake lost a SYN and nothing was measured: begin data transfer with 3 s (RFC 6298 §5.7).
    pub fn handshake_lost_syn(&mut self) {
        if self.srtt == 0 {
            self.rto = RTO_AFTER_SYN_LOSS.as_nanos() as u64;
        }
        self.backoff = 0;
    }

    /// The time-out to use now.
    pub fn timeout(&self) -> Duration {
        Duration::from_nanos(self.timeout_nanos())
    }

    fn timeout_nanos(&self) -> u64 {
        let backed_off = self.rto.saturating_mul(1 << self.backoff.min(16));
        backed_off.min(RTO_MAX.as_nanos() as u64)
    }

    /// When what is sent now is overdue.
    pub fn deadline(&self, now: Instant) -> Instant {
        Instant::from_nanos(now.as_nanos().saturating_add(self.timeout_nanos()))
    }

    /// Whether nothing was sent for a time-out (without backing off) since `last_sent`.
    pub fn is_idle(&self, last_sent: Instant, now: Instant) -> bool {
        now.nanos_since(last_sent) > self.rto
    }

    /// The time-out without backing off.
    pub fn base(&self) -> Duration {
        Duration::from_nanos(self.rto)
    }

    /// Smoothed round-trip time; `None` before the first sample.
    pub fn smoothed(&self) -> Option<Duration> {
        (self.srtt != 0).then(|| Duration::from_nanos(self.srtt))
    }

    pub fn variance(&self) -> Duration {
        Duration::from_nanos(self.rttvar)
    }

    pub fn min(&self) -> Duration {
        Duration::from_nanos(self.min)
    }
}

/// A measurement under way: one segment is timed at a time (RFC 6298 §3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The measurement ends when this is acknowledged.
    pub until: wireway_wire::SeqNumber,
    pub since: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_sample_and_bounds() {
        let mut rtt = RttEstimator::new();
        assert_eq!(rtt.timeout(), Duration::from_secs(1));
        rtt.sample(Duration::from_millis(100));
        // R + max(4 * R / 2, 200 ms) = 300 ms (RFC 6298 §2.2).
        assert_eq!(rtt.timeout(), Duration::from_millis(300));
        for _ in 0..200 {
            rtt.sample(Duration::from_micros(50));
        }
        assert!(rtt.timeout() >= RTO_MIN && rtt.timeout() < Duration::from_millis(202));
        rtt.backoff = 3;
        assert!(rtt.timeout() >= RTO_MIN * 8);
        rtt.backoff = 200;
        assert_eq!(rtt.timeout(), RTO_MAX);
    }

    #[test]
    fn smoothing_follows_the_rfc() {
        let mut rtt = RttEstimator::new();
        rtt.sample(Duration::from_nanos(800_000_000));
        rtt.sample(Duration::from_nanos(1_600_000_000));
        // RTTVAR = 3/4 * 400 + 1/4 * 800 = 500; SRTT = 7/8 * 800 + 1/8 * 1600 = 900 (ms).
        assert_eq!(rtt.variance(), Duration::from_millis(500));
        assert_eq!(rtt.smoothed(), Some(Duration::from_millis(900)));
        assert_eq!(rtt.timeout(), Duration::from_millis(2900));
    }
}
