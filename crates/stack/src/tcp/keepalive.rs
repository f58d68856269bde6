//! Keepalive (RFC 9293 §3.8.4, RFC 1122 §4.2.3.6): off by default, after two hours of silence, by probes without data that an
//! answer must follow.

use core::time::Duration;

use wireway_packet::Instant;

use super::connection::Connection;
use super::shared::Cx;
use super::state::State;
use crate::{Counter, Error};

/// Probes sent since the peer was last heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keepalive {
    pub probes: u8,
}

impl Connection {
    /// Starts or stops keepalive, as SO_KEEPALIVE and the state say.
    pub fn update_keepalive(&mut self, cx: &mut Cx<'_>) {
        let on = self.common.options.keep_alive && self.state.is_synchronized();
        self.deadlines.keepalive =
            if on { self.last_heard() + self.common.options.keep_idle } else { Instant::FAR_FUTURE };
        self.keepalive.probes = 0;
        self.arm(cx);
    }

    fn last_heard(&self) -> Instant {
        self.last_received.max(self.last_ack_received)
    }

    pub fn on_keepalive_timer(&mut self, cx: &mut Cx<'_>) {
        let options = &self.common.options;
        if !options.keep_alive || !self.state.is_synchronized() || self.state == State::LastAck {
            return;
        }
        let (idle, interval, count) = (options.keep_idle, options.keep_interval, options.keep_count);
        let user_timeout = options.user_timeout;
        let now = cx.now;
        let silence = now.since(self.last_heard());
        // Data in flight or a window probe does the same job.
        if self.snd_max != self.snd_una || self.unsent() > 0 {
            self.deadlines.keepalive = now + idle;
            return;
        }
        if silence < idle {
            self.keepalive.probes = 0;
            self.deadlines.keepalive = self.last_heard() + idle;
            return;
        }
        let dead = match user_timeout {
            Duration::ZERO => self.keepalive.probes >= count,
            limit => self.keepalive.probes > 0 && silence >= limit,
        };
        if dead {
            cx.net.counters.count(Counter::TcpExtTcpAbortOnTimeout);
            self.send_reset(cx);
            return self.end(Some(self.soft_error.unwrap_or(Error::TimedOut)), cx);
        }
        self.keepalive.probes = self.keepalive.probes.saturating_add(1);
        cx.net.counters.count(Counter::TcpExtTcpKeepAlive);
        self.send_probe(cx);
        self.deadlines.keepalive = now + interval;
    }
}
