//! The receive window: how much is offered (RFC 9293 §3.8.6, with silly-window avoidance, §3.8.6.2.2), how it is scaled without
//! shrinking (RFC 7323 §2.4), and how the buffer grows with what the program reads per round trip (Linux's dynamic right-sizing).
//!
//! As on Linux, a receive buffer of n bytes (SO_RCVBUF as read back) offers a window of n / 2: the other half is for overhead.

use core::time::Duration;

use wireway_packet::Instant;
use wireway_wire::SeqNumber;

use super::congestion::INITIAL_SEGMENTS;
use super::connection::Connection;
use super::shared::Cx;

/// The largest window without scaling.
pub(crate) const MAX_UNSCALED: u32 = 65_535;
/// The largest shift count (RFC 7323 §2.3).
pub(crate) const MAX_SHIFT: u8 = 14;

/// The shift count that lets a buffer of `max` bytes be offered.
pub(crate) fn shift_for(max: usize) -> u8 {
    let mut shift = 0;
    while shift < MAX_SHIFT && (MAX_UNSCALED as usize) << shift < max {
        shift += 1;
    }
    shift
}

/// The first window that is offered, in a SYN: whole segments of `mss`, not scaled.
pub(crate) fn initial_window(buffer: usize, mss: u32) -> u32 {
    let mut space = (buffer / 2) as u32;
    if mss > 0 && space > mss {
        space = space / mss * mss;
    }
    space.min(MAX_UNSCALED)
}

/// The receive buffer's size and what it is tuned by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveTuning {
    /// The buffer's size as SO_RCVBUF reads.
    pub buffer: usize,
    /// Bytes that the program read in the last measured round trip.
    space: u32,
    /// Bytes that the program read since `since`.
    copied: u32,
    since: Instant,
    /// The round-trip time as the receiver sees it.
    pub rtt: Option<Duration>,
    /// Measures `rtt` without timestamps: when a whole window beyond this was received.
    window_end: SeqNumber,
    window_since: Instant,
}

impl ReceiveTuning {
    pub fn new(buffer: usize) -> ReceiveTuning {
        ReceiveTuning {
            buffer,
            space: 0,
            copied: 0,
            since: Instant::ZERO,
            rtt: None,
            window_end: SeqNumber(0),
            window_since: Instant::ZERO,
        }
    }

    /// Begins to measure, when the connection is established.
    pub fn start(&mut self, now: Instant, window: u32, mss: u32, rcv_nxt: SeqNumber) {
        self.space = window.min(INITIAL_SEGMENTS * mss);
        self.since = now;
        self.window_end = rcv_nxt + window;
        self.window_since = now;
    }

    fn sample(&mut self, rtt: Duration) {
        let rtt = rtt.max(Duration::from_millis(1));
        self.rtt = Some(match self.rtt {
            None => rtt,
            // The least counts: what is measured includes the peer's pauses.
            Some(old) if rtt < old => rtt,
            Some(old) => old - old / 8 + rtt / 8,
        });
    }
}

impl Connection {
    /// Bytes the buffer holds at most.
    pub fn receive_capacity(&self) -> u32 {
        let capacity = (self.tuning.buffer / 2).min(u32::MAX as usize / 4) as u32;
        match self.common.options.window_clamp {
            0 => capacity,
            clamp => capacity.min(clamp),
        }
    }

    /// Bytes of blocks that receive queue and reassembly may each keep alive.
    pub fn receive_memory_limit(&self) -> usize {
        self.tuning.buffer.max(64 << 10) * 2
    }

    /// Decides the window to offer now: moves `rcv_adv` on if that is worth it, never back, and returns the header's field.
    pub fn select_window(&mut self) -> u16 {
        let capacity = self.receive_capacity();
        let free = capacity.saturating_sub(self.receive.len() as u32);
        let current = self.receive_window();
        // RFC 9293 §3.8.6.2.2: the edge moves only by a segment or by half of the buffer.
        let step = (capacity / 2).min(self.ack.peer_segment);
        let window = if free >= current.saturating_add(step) { free } else { current };
        let shift = self.rcv_shift;
        // Rounded up, so that the edge does not go back (RFC 7323 §2.4), but for a remainder that was promised by rounding before.
        let unit = 1u32 << shift;
        let round_up = window & (unit - 1) != 0 && window <= free.saturating_add(unit);
        let field = ((window >> shift) + u32::from(round_up)).min(MAX_UNSCALED);
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt + (field << shift));
        field as u16
    }

    /// After the program read `n` bytes: lets the buffer grow, and tells the peer of a window that opened enough.
    pub fn after_read(&mut self, n: usize, cx: &mut Cx<'_>) {
        self.tune_receive_buffer(n as u32, cx);
        if !self.state.is_synchronized() || self.fin_received {
            return;
        }
        let current = self.receive_window();
        let free = self.receive_capacity().saturating_sub(self.receive.len() as u32);
        let step = (self.receive_capacity() / 2).min(self.ack.peer_segment);
        // As Linux: at once when the window can double; smaller openings travel with the next acknowledgement.
        if free >= current.saturating_mul(2).max(current.saturating_add(step)) {
            self.send_ack(cx);
        }
    }

    fn tune_receive_buffer(&mut self, n: u32, cx: &mut Cx<'_>) {
        let tuning = &mut self.tuning;
        tuning.copied = tuning.copied.saturating_add(n);
        if tuning.copied <= tuning.space {
            // Nothing would grow; the round trip still has to start anew in time.
            let Some(rtt) = tuning.rtt else { return };
            if cx.now.since(tuning.since) >= rtt {
                tuning.space = tuning.space.max(tuning.copied);
                tuning.copied = 0;
                tuning.since = cx.now;
            }
            return;
        }
        let rtt = tuning.rtt.or(self.rtt.smoothed()).unwrap_or(Duration::from_millis(1));
        if cx.now.since(tuning.since) < rtt {
            return;
        }
        if !self.common.receive_buffer_locked {
            // Twice what was read in a round trip, and as much more as the rate grew, so that a sender in slow start is not held back.
            let copied = u64::from(tuning.copied).min(cx.net.settings.tcp_rmem.2 as u64);
            let space = u64::from(tuning.space.max(1));
            let mut window = 2 * copied + 16 * u64::from(self.advertised_mss);
            window += 2 * (window * (copied - space.min(copied)) / space);
            let buffer = (2 * window).min(cx.net.settings.tcp_rmem.2 as u64) as usize;
            tuning.buffer = tuning.buffer.max(buffer);
        }
        tuning.space = tuning.copied;
        tuning.copied = 0;
        tuning.since = cx.now;
    }

    /// Measures the round-trip time from the receiver's side: a full segment that echoes our clock, or a whole window.
    pub fn measure_receive_rtt(&mut self, len: u32, echo: Option<u32>, now: Instant) {
        match echo {
            Some(echo) => {
                if len >= self.ack.peer_segment && echo != 0 {
                    let delta = self.timestamp(now).wrapping_sub(echo);
                    if delta < i32::MAX as u32 {
                        self.tuning.sample(Duration::from_millis(u64::from(delta)));
                    }
                }
            }
            None => {
                if self.rcv_nxt.geq(self.tuning.window_end) {
                    let took = now.since(self.tuning.window_since);
                    self.tuning.sample(took);
                    self.tuning.window_end = self.rcv_adv;
                    self.tuning.window_since = now;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_windows_are_linux_s() {
        assert_eq!(initial_window(131_072, 1460), 64_240);
        assert_eq!(initial_window(131_072, 1448), 65_160);
        assert_eq!(initial_window(131_072, 65_495), 65_495);
        assert_eq!(shift_for(6_291_456), 7);
        assert_eq!(shift_for(65_535), 0);
        assert_eq!(shift_for(usize::MAX), 14);
    }
}
