//! A connection's deadlines and what happens at each.
//!
//! - retransmit: the oldest unacknowledged segment is overdue (RFC 6298); with nothing in flight, the peer's window
//!   is to be probed (RFC 9293 §3.8.6.1), or what was held back is to be sent after all (§3.8.6.2.1 (4))
//! - delayed_ack: an acknowledgement was held back long enough (RFC 1122 §4.2.3.2)
//! - keepalive: `keepalive.rs`
//! - linger: an orphan in FIN-WAIT-2 is given up

use core::time::Duration;

use wireway_packet::Instant;

use super::congestion::CongestionControl;
use super::connection::{Connection, Pending};
use super::rto::{RTO_MAX, RTO_MIN};
use super::shared::Cx;
use super::state::State;
use crate::timer::TimerKey;
use crate::{Counter, Error};

/// How long TCP_CORK and MSG_MORE hold back a partial segment (tcp(7)).
pub(crate) const CORK_TIME: Duration = Duration::from_millis(200);
/// Retries of an orphan with data left (Linux's tcp_orphan_retries of 0 means 8).
const ORPHAN_RETRIES: u8 = 8;

/// When things are due; `FAR_FUTURE` where nothing is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub retransmit: Instant,
    pub delayed_ack: Instant,
    pub keepalive: Instant,
    pub linger: Instant,
}

impl Default for Deadlines {
    fn default() -> Self {
        let never = Instant::FAR_FUTURE;
        Deadlines { retransmit: never, delayed_ack: never, keepalive: never, linger: never }
    }
}

impl Deadlines {
    pub fn earliest(&self) -> Instant {
        self.retransmit.min(self.delayed_ack).min(self.keepalive.min(self.linger))
    }
}

/// How long `retries` retransmissions with doubling from the least time-out take (Linux's tcp_model_timeout).
fn patience(retries: u8) -> Duration {
    let doublings = (RTO_MAX.as_millis() / RTO_MIN.as_millis()).ilog2() as u8;
    let doubled = RTO_MIN * ((2u32 << retries.min(doublings)) - 1);
    doubled + RTO_MAX * u32::from(retries.saturating_sub(doublings))
}

impl Connection {
    /// Tells the wheel of the earliest deadline, if it does not wake us before it anyway.
    pub fn arm(&mut self, cx: &mut Cx<'_>) {
        let at = self.deadlines.earliest();
        if at < self.armed {
            self.armed = at;
            let SocketIdParts { index, generation } = parts(self);
            cx.net.timers.arm(&mut self.timer, at, TimerKey::Tcp { index, generation });
        }
    }

    /// The wheel's time has come. Nothing may be due any more.
    pub fn on_timer(&mut self, cx: &mut Cx<'_>) {
        self.armed = Instant::FAR_FUTURE;
        let now = cx.now;
        let due = |at: &mut Instant| *at <= now && core::mem::replace(at, Instant::FAR_FUTURE) <= now;
        if due(&mut self.deadlines.delayed_ack) {
            cx.net.counters.count(Counter::TcpExtDelayedAcks);
            self.ack.on_delayed();
            self.request(Pending::ACK, cx);
        }
        if due(&mut self.deadlines.retransmit) {
            self.on_retransmit_timer(cx);
        }
        if due(&mut self.deadlines.keepalive) {
            self.on_keepalive_timer(cx);
        }
        if due(&mut self.deadlines.linger) && self.state == State::FinWait2 {
            self.end(None, cx);
        }
        self.arm(cx);
    }

    /// Starts the retransmission timer anew (RFC 6298 §5.1, §5.3).
    pub fn restart_retransmit_timer(&mut self, now: Instant) {
        self.deadlines.retransmit = self.rtt.deadline(now);
    }

    fn on_retransmit_timer(&mut self, cx: &mut Cx<'_>) {
        match self.state {
            State::Held | State::TimeWait | State::Closed => {}
            State::SynSent | State::SynReceived => self.on_syn_timer(cx),
            _ if self.snd_max != self.snd_una => self.on_data_timer(cx),
            _ => self.on_probe_timer(cx),
        }
    }

    fn on_syn_timer(&mut self, cx: &mut Cx<'_>) {
        let limit = match self.state {
            State::SynSent => self.common.options.syn_count,
            _ => cx.net.settings.tcp_synack_retries,
        };
        if self.retries == 0 {
            self.stalled_since = self.last_sent;
        }
        if self.retries >= limit || self.user_timeout_passed(cx.now) {
            return self.give_up(cx);
        }
        self.retries += 1;
        self.rtt.backoff = self.rtt.backoff.saturating_add(1);
        self.repeat_syn(cx);
        self.restart_retransmit_timer(cx.now);
    }

    fn on_data_timer(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now;
        if self.retries == 0 {
            self.stalled_since = self.last_sent.min(now);
        }
        let limit = if self.is_orphan() { ORPHAN_RETRIES } else { cx.net.settings.tcp_retries2 };
        // A peer that has closed its window but answers is alive (RFC 9293 §3.8.6.1).
        let answers = self.snd_wnd == 0 && !self.is_orphan() && now.since(self.last_ack_received) < 2 * RTO_MAX;
        let given_up = match self.common.options.user_timeout {
            Duration::ZERO if answers => false,
            Duration::ZERO => self.retries > 0 && now.since(self.stalled_since) >= patience(limit),
            _ => self.retries > 0 && self.user_timeout_passed(now),
        };
        if given_up {
            cx.net.counters.count(Counter::TcpExtTcpAbortOnTimeout);
            return self.give_up(cx);
        }
        cx.net.counters.count(Counter::TcpExtTcpTimeouts);
        self.retries = self.retries.saturating_add(1);
        // Karn's algorithm (RFC 6298 §5.5, §3).
        self.rtt.backoff = self.rtt.backoff.saturating_add(1);
        self.timing = None;
        self.on_retransmission_timeout(cx);
        self.restart_retransmit_timer(now);
        self.clip_to_user_timeout(now);
    }

    /// The peer's window is closed or too small, or a cork held data back.
    fn on_probe_timer(&mut self, cx: &mut Cx<'_>) {
        if self.unsent() == 0 && (!self.fin_queued || self.fin_acked) {
            return;
        }
        let now = cx.now;
        if self.snd_wnd > 0 {
            // The override time-out of RFC 9293 §3.8.6.2.1: send what fits.
            self.push = true;
            self.output(cx);
            self.push = false;
            return;
        }
        if self.probes == 0 && self.rtt.backoff == 0 {
            self.stalled_since = now;
        }
        let limit = if self.is_orphan() { ORPHAN_RETRIES } else { cx.net.settings.tcp_retries2 };
        // Probes that are answered go on for ever (RFC 9293 §3.8.6.1, MUST-37), but for an orphan or a user time-out.
        let orphan_done = self.is_orphan() && self.rtt.backoff >= ORPHAN_RETRIES;
        if self.probes >= limit || orphan_done || self.user_timeout_passed(now) {
            cx.net.counters.count(Counter::TcpExtTcpAbortOnTimeout);
            return self.give_up(cx);
        }
        self.probes += 1;
        cx.net.counters.count(Counter::TcpExtTcpWinProbe);
        self.send_probe(cx);
        self.rtt.backoff = self.rtt.backoff.saturating_add(1);
        self.restart_retransmit_timer(now);
        self.clip_to_user_timeout(now);
    }

    /// RFC 5482, RFC 9293 §3.9.1 (the user time-out): whether TCP_USER_TIMEOUT is set and has passed without progress.
    fn user_timeout_passed(&self, now: Instant) -> bool {
        let limit = self.common.options.user_timeout;
        let stalled = self.retries > 0 || self.probes > 0 || self.rtt.backoff > 0;
        limit != Duration::ZERO && stalled && now.since(self.stalled_since) >= limit
    }

    fn clip_to_user_timeout(&mut self, _now: Instant) {
        let limit = self.common.options.user_timeout;
        if limit != Duration::ZERO {
            self.deadlines.retransmit = self.deadlines.retransmit.min(self.stalled_since + limit);
        }
    }

    /// The peer does not answer: ETIMEDOUT, or what ICMP said meanwhile (RFC 1122 §4.2.3.5, §4.2.3.9).
    pub fn give_up(&mut self, cx: &mut Cx<'_>) {
        let error = self.soft_error.unwrap_or(Error::TimedOut);
        if matches!(self.state, State::SynSent | State::SynReceived) {
            cx.net.counters.count(Counter::TcpAttemptFails);
        }
        self.end(Some(error), cx);
    }

    /// Nothing is in flight but something is left to send: probe the window, or end a cork.
    pub fn schedule_probe(&mut self, now: Instant, held_back: bool) {
        if self.deadlines.retransmit == Instant::FAR_FUTURE {
            let wait = if held_back { CORK_TIME } else { self.rtt.timeout().max(RTO_MIN) };
            self.deadlines.retransmit = now + wait;
        }
    }

    /// The slow-start threshold in segments and the window in segments, for TCP_INFO.
    pub fn congestion_in_segments(&self) -> (u32, u32) {
        let mss = self.send_mss().max(1);
        (self.congestion.window() / mss, (self.congestion.threshold() / mss).min(i32::MAX as u32))
    }
}

struct SocketIdParts {
    index: u32,
    generation: u32,
}

fn parts(connection: &Connection) -> SocketIdParts {
    SocketIdParts { index: connection.common.id.index, generation: connection.common.id.generation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_linux_s() {
        // tcp_retries2 = 15 means 924.6 seconds (ip-sysctl.rst).
        assert_eq!(patience(15), Duration::from_millis(924_600));
        assert_eq!(patience(8), Duration::from_millis(102_200));
    }
}
