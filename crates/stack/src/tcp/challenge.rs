//! Challenge acknowledgements (RFC 5961): a segment that could be an attack is answered with an acknowledgement, which a true
//! peer answers so that we know. Their number is limited for the host (§7) and for each connection.

use core::time::Duration;

use wireway_packet::Instant;

use super::connection::Connection;
use super::shared::Cx;
use crate::Counter;

/// The least time between two answers to unacceptable segments of one connection (Linux's tcp_invalid_ratelimit).
pub(crate) const REJECT_INTERVAL: Duration = Duration::from_millis(500);

/// The host's limit: at most so many a second. The number is randomised a little, so that it is no side channel
/// (CVE-2016-5696).
#[derive(Default)]
pub(crate) struct ChallengeLimit {
    since: Instant,
    left: u32,
}

impl Connection {
    /// Sends a challenge acknowledgement (RFC 5961 §3.2, §4.2, §5.2), if the limits allow.
    pub fn challenge(&mut self, cx: &mut Cx<'_>) {
        if !self.may_reject(cx) {
            return;
        }
        let limit = cx.net.settings.tcp_challenge_ack_limit;
        let state = &mut cx.shared.challenge;
        if cx.now.since(state.since) >= Duration::from_secs(1) || state.since == Instant::ZERO {
            state.since = cx.now;
            let half = limit.div_ceil(2);
            state.left = half.saturating_add(cx.net.rng.below(limit));
        }
        let Some(left) = state.left.checked_sub(1) else { return };
        state.left = left;
        cx.net.counters.count(Counter::TcpExtTcpChallengeAck);
        self.send_ack(cx);
    }

    /// Acknowledges a segment that was not acceptable (RFC 9293 §3.10.7.4), at a limited rate, so that two ends that disagree
    /// do not fill the link.
    pub fn reject(&mut self, cx: &mut Cx<'_>) {
        if self.may_reject(cx) {
            self.send_ack(cx);
        }
    }

    fn may_reject(&mut self, cx: &mut Cx<'_>) -> bool {
        may_answer(&mut self.last_reject_ack, cx)
    }
}

/// Whether [`REJECT_INTERVAL`] has passed since `last`, which is then now; zero means "never".
pub(super) fn may_answer(last: &mut Instant, cx: &mut Cx<'_>) -> bool {
    let allowed = *last == Instant::ZERO || cx.now.since(*last) >= REJECT_INTERVAL;
    if allowed {
        *last = cx.now.max(Instant::from_nanos(1));
    } else {
        cx.net.counters.count(Counter::TcpExtTcpAckSkipped);
    }
    allowed
}
