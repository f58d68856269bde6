//! Loss detection and recovery: fast retransmit and fast recovery of NewReno (RFC 5681 §3.2, RFC 6582), limited transmit
//! (RFC 3042), and what follows a retransmission time-out.
//!
//! This file owns the question "what is lost, and what is sent again"; how the window answers is `congestion.rs`. The sender's
//! scoreboard of SACK blocks will live here; today they only tell a duplicate acknowledgement from a window update.

use wireway_wire::SeqNumber;

use super::congestion::{AckSample, CongestionControl};
use super::connection::Connection;
use super::shared::Cx;
use crate::Counter;

/// Duplicate acknowledgements that mean a loss (RFC 5681 §3.2).
const THRESHOLD: u32 = 3;

/// The state of recovery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    /// In fast recovery.
    pub active: bool,
    /// Consecutive duplicate acknowledgements.
    duplicates: u32,
    /// What was outstanding when the last loss was found ends here (RFC 6582 §3.2).
    recover: SeqNumber,
    /// What may be in flight beyond the congestion window: for segments that left the network (fast recovery's inflation, limited
    /// transmit), in bytes.
    pub extra: u32,
    /// The most that was in flight during the last window, which ends at `used_until` (RFC 7661's pipeACK, as Linux has it).
    used: u32,
    used_until: SeqNumber,
}

impl Recovery {
    pub fn new(iss: SeqNumber) -> Recovery {
        Recovery { active: false, duplicates: 0, recover: iss, extra: 0, used: 0, used_until: iss }
    }
}

impl Connection {
    /// What may be in flight, as far as the network is concerned.
    pub fn congestion_window(&self) -> u32 {
        self.congestion.window().saturating_add(self.recovery.extra)
    }

    /// After sending: notes how much of the congestion window is used.
    pub fn note_usage(&mut self) {
        let flight = self.flight();
        if flight > self.recovery.used || self.snd_una.geq(self.recovery.used_until) {
            self.recovery.used = flight;
            self.recovery.used_until = self.snd_nxt;
        }
    }

    /// A duplicate acknowledgement arrived (RFC 5681 §2).
    pub fn on_duplicate_ack(&mut self, cx: &mut Cx<'_>) {
        let mss = self.send_mss();
        self.recovery.duplicates += 1;
        if self.recovery.active {
            // Another segment left the network (RFC 5681 §3.2 step 4).
            self.recovery.extra = self.recovery.extra.saturating_add(mss);
            return;
        }
        // Only if this acknowledges more than the last recovery did (RFC 6582 §3.2 step 2).
        if self.snd_una.leq(self.recovery.recover) {
            return;
        }
        if self.recovery.duplicates < THRESHOLD {
            // Limited transmit (RFC 3042): one new segment for each of the first two.
            self.recovery.extra = self.recovery.duplicates * mss;
            return;
        }
        self.recovery.active = true;
        self.recovery.recover = self.snd_max;
        self.recovery.extra = THRESHOLD * mss;
        self.congestion.on_loss(cx.now, self.flight(), mss);
        cx.net.counters.count(Counter::TcpExtTcpRenoRecovery);
        cx.net.counters.count(Counter::TcpExtTcpFastRetrans);
        self.retransmit_first(cx);
        self.restart_retransmit_timer(cx.now);
    }

    /// `acked` new bytes were acknowledged; `snd_una` has moved.
    pub fn on_new_ack(&mut self, acked: u32, cx: &mut Cx<'_>) {
        let mss = self.send_mss();
        self.recovery.duplicates = 0;
        if !self.recovery.active {
            self.recovery.extra = 0;
            // Kept close behind, so that the comparison never wraps around.
            self.recovery.recover = self.recovery.recover.max(self.snd_una - 1);
            let sample = AckSample { acked, used: self.recovery.used, mss };
            self.congestion.on_ack(&sample);
            return;
        }
        if self.snd_una.geq(self.recovery.recover) {
            // A full acknowledgement (RFC 6582 §3.2 step 3).
            self.recovery.active = false;
            self.recovery.extra = 0;
            self.congestion.on_recovered(cx.now, self.flight(), mss);
            return;
        }
        // A partial one: the next hole is lost too. Deflate by what left, and add a segment.
        cx.net.counters.count(Counter::TcpExtTcpPartialAck);
        self.recovery.extra = self.recovery.extra.saturating_sub(acked);
        if acked >= mss {
            self.recovery.extra = self.recovery.extra.saturating_add(mss);
        }
        self.retransmit_first(cx);
    }

    /// The retransmission timer expired with something outstanding: everything counts as lost, and is sent again from the first
    /// segment on as the window opens (RFC 5681 §3.1, RFC 6582 §4).
    pub fn on_retransmission_timeout(&mut self, cx: &mut Cx<'_>) {
        let first = self.retries <= 1;
        let flight = self.snd_max.distance_from(self.snd_una);
        self.congestion.on_timeout(cx.now, flight, self.send_mss(), first);
        self.recovery = Recovery { recover: self.snd_max, ..Recovery::new(self.snd_una) };
        self.snd_nxt = self.snd_una;
        let sent = self.retransmit_first(cx);
        self.snd_nxt = self.snd_una + sent;
    }

    /// Sends the first unacknowledged segment again, whatever the windows are. Returns what it covers.
    pub fn retransmit_first(&mut self, cx: &mut Cx<'_>) -> u32 {
        // A measurement that spans a retransmission is void (Karn).
        self.timing = None;
        // Another connection may have learnt that the path takes less.
        self.refresh_path_mtu(cx);
        let outstanding = self.snd_max.distance_from(self.snd_una);
        let data = (self.send.len() as u32).min(outstanding);
        let len = data.min(self.send_mss());
        let fin = outstanding > data && len == data;
        self.send_range(self.snd_una, len, fin, cx);
        len + u32::from(fin)
    }
}
