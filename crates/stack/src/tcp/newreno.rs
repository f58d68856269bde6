//! Reno's congestion control: slow start, congestion avoidance and the reactions to loss (RFC 5681), with bytes counted
//! (RFC 3465), the initial window of RFC 6928, and the window after recovery of RFC 6582.

use core::time::Duration;

use wireway_packet::Instant;

use super::congestion::{AckSample, CongestionControl, INITIAL_SEGMENTS};

/// Reno's state.
#[derive(Clone, Debug)]
pub(crate) struct NewReno {
    window: u32,
    threshold: u32,
    /// Bytes acknowledged in congestion avoidance since the window last grew.
    acked: u32,
}

impl NewReno {
    /// At the start of data transfer. `lost_syn` is the start after a lost SYN: one segment (RFC 5681 §3.1).
    pub fn new(mss: u32, lost_syn: bool) -> NewReno {
        let segments = if lost_syn { 1 } else { INITIAL_SEGMENTS };
        NewReno { window: segments * mss, threshold: u32::MAX, acked: 0 }
    }
}

impl CongestionControl for NewReno {
    fn window(&self) -> u32 {
        self.window
    }

    fn threshold(&self) -> u32 {
        self.threshold
    }

    fn on_ack(&mut self, ack: &AckSample) {
        // A window that was not filled was not tested: it does not grow (RFC 7661 §4.3; in slow start, half is enough, as in Linux).
        let slow_start = self.window < self.threshold;
        let filled = if slow_start { ack.used.saturating_mul(2) } else { ack.used.saturating_add(ack.mss) };
        if filled < self.window {
            return;
        }
        let mut acked = ack.acked;
        if slow_start {
            // One byte for each byte acknowledged (RFC 5681 §3.1, equation 2, for every segment that the ACK covers).
            let grow = acked.min(self.threshold - self.window);
            self.window = self.window.saturating_add(grow);
            acked -= grow;
        }
        // One segment for each window acknowledged (RFC 5681 §3.1, equation 3, by RFC 3465's byte count).
        self.acked = self.acked.saturating_add(acked);
        if self.window >= self.threshold && self.acked >= self.window {
            self.acked -= self.window;
            self.window = self.window.saturating_add(ack.mss);
        }
    }

    fn on_loss(&mut self, _now: Instant, flight: u32, mss: u32) {
        // RFC 5681 §3.2 step 2: ssthresh = max(FlightSize / 2, 2 * SMSS).
        self.threshold = (flight / 2).max(2 * mss);
        self.window = self.threshold;
        self.acked = 0;
    }

    fn on_recovered(&mut self, _now: Instant, flight: u32, mss: u32) {
        // RFC 6582 §3.2 step 3, option 1: not more than one segment's burst.
        self.window = self.threshold.min(flight.max(mss).saturating_add(mss)).max(2 * mss);
    }

    fn on_timeout(&mut self, _now: Instant, flight: u32, mss: u32, first: bool) {
        // RFC 5681 §3.1, equation 4; and the loss window of one segment.
        if first {
            self.threshold = (flight / 2).max(2 * mss);
        }
        self.window = mss;
        self.acked = 0;
    }

    fn on_idle(&mut self, idle: Duration, rto: Duration, mss: u32) {
        // RFC 5681 §4.1's restart window, approached by halves for each idle time-out as in RFC 2861 and Linux.
        let restart = self.window.min(INITIAL_SEGMENTS * mss);
        self.threshold = self.threshold.max(self.window / 4 * 3);
        let mut idle = idle;
        while idle > rto && self.window > restart {
            self.window = (self.window / 2).max(restart);
            idle -= rto;
        }
        self.acked = 0;
    }

    fn on_mss(&mut self, old: u32, new: u32) {
        // The window in segments stays.
        self.window = (u64::from(self.window) * u64::from(new) / u64::from(old.max(1))).max(u64::from(new)) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(acked: u32, used: u32) -> AckSample {
        AckSample { acked, used, mss: 1000 }
    }

    #[test]
    fn slow_start_doubles_and_avoidance_adds_one() {
        let mut cc = NewReno::new(1000, false);
        assert_eq!(cc.window(), 10_000);
        for _ in 0..5 {
            cc.on_ack(&ack(2000, 10_000));
        }
        assert_eq!(cc.window(), 20_000);
        cc.on_loss(Instant::ZERO, 20_000, 1000);
        assert_eq!((cc.window(), cc.threshold()), (10_000, 10_000));
        for _ in 0..10 {
            cc.on_ack(&ack(1000, 10_000));
        }
        assert_eq!(cc.window(), 11_000);
    }

    #[test]
    fn idle_and_unfilled_windows_do_not_grow() {
        let mut cc = NewReno::new(1000, false);
        cc.on_ack(&ack(1000, 1000));
        assert_eq!(cc.window(), 10_000);
        for _ in 0..100 {
            cc.on_ack(&ack(10_000, 1 << 20));
        }
        let grown = cc.window();
        cc.on_idle(Duration::from_secs(100), Duration::from_secs(1), 1000);
        assert_eq!(cc.window(), 10_000);
        assert!(cc.threshold() >= grown / 2);
    }

    #[test]
    fn timeouts_keep_the_first_threshold() {
        let mut cc = NewReno::new(1000, false);
        cc.on_timeout(Instant::ZERO, 10_000, 1000, true);
        cc.on_timeout(Instant::ZERO, 1000, 1000, false);
        assert_eq!((cc.window(), cc.threshold()), (1000, 5000));
    }
}
