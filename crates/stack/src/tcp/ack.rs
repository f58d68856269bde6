//! Acknowledgements, both ways: what a received one does (RFC 9293 §3.10.7.4, fifth step), and when we send ours (RFC 1122
//! §4.2.3.2, RFC 5681 §4.2).

use core::time::Duration;

use wireway_packet::Instant;
use wireway_wire::{SeqNumber, TcpFlags};

use super::congestion::CongestionControl;
use super::connection::{Connection, Pending};
use super::input::Segment;
use super::shared::Cx;
use crate::Counter;

/// How long an acknowledgement may wait (Linux's TCP_ATO_MIN; RFC 1122 asks for less than 500 ms).
pub(crate) const DELAY: Duration = Duration::from_millis(40);
/// Segments acknowledged at once in the beginning (Linux's TCP_MAX_QUICKACKS).
const QUICK: u8 = 16;

/// When data that was received is acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckSchedule {
    /// The size of the peer's full segments, as seen (Linux's rcv_mss).
    pub peer_segment: u32,
    /// Acknowledgements still to be sent at once: while the peer's window is small, a delay would cost a round trip each.
    quick: u8,
    /// The program answers what it gets: acknowledgements can wait for the answer.
    interactive: bool,
    /// A range that came twice, to be reported once (RFC 2883).
    duplicate: Option<(SeqNumber, SeqNumber)>,
}

impl AckSchedule {
    pub fn new() -> AckSchedule {
        AckSchedule { peer_segment: 536, quick: QUICK, interactive: false, duplicate: None }
    }

    /// TCP_QUICKACK as set by the program.
    pub fn set_quick(&mut self, on: bool) {
        self.interactive = !on;
        self.quick = if on { QUICK } else { 0 };
    }

    pub fn is_quick(&self) -> bool {
        self.quick > 0 && !self.interactive
    }

    /// Data was sent: if it followed received data closely, it is likely an answer.
    pub fn on_data_sent(&mut self, now: Instant, last_received: Instant) {
        if now < last_received + DELAY {
            self.interactive = true;
        }
    }

    /// Something of ours is expected to go soon.
    pub fn expect_answer(&mut self) {
        self.interactive = true;
    }

    pub fn on_ack_sent(&mut self) {
        self.quick = self.quick.saturating_sub(1);
        self.duplicate = None;
    }

    /// The range from `left` to `right` was received before.
    pub fn set_duplicate(&mut self, left: SeqNumber, right: SeqNumber) {
        self.duplicate = Some((left, right));
    }

    pub fn duplicate(&self) -> Option<(SeqNumber, SeqNumber)> {
        self.duplicate
    }

    /// A segment of `size` bytes of payload was received; full ones tell the peer's segment size.
    pub fn learn_segment_size(&mut self, size: u32, limit: u32) {
        if size > self.peer_segment {
            self.peer_segment = size.min(limit);
        }
    }

    /// The delay ran out: no answer came, so the next need not be awaited as long.
    pub fn on_delayed(&mut self) {
        self.interactive = false;
    }

    /// A hole or a retransmission was seen: acknowledge at once for a while, so that the peer recovers quickly.
    pub fn hurry(&mut self) {
        self.interactive = false;
        self.quick = QUICK;
    }
}

impl Connection {
    /// In-order data was received: acknowledge it now or later.
    pub fn schedule_ack(&mut self, cx: &mut Cx<'_>) {
        let unacknowledged = self.rcv_nxt.distance_from(self.last_ack_sent);
        // Every second full segment, and while there are holes each (RFC 5681 §4.2).
        if unacknowledged > self.ack.peer_segment || self.ack.is_quick() || !self.reassembly.is_empty() {
            self.request(Pending::ACK, cx);
        } else {
            self.deadlines.delayed_ack = self.deadlines.delayed_ack.min(cx.now + DELAY);
        }
    }

    /// Handles the acknowledgement field and the window. False if the segment is to be dropped.
    pub fn process_ack(&mut self, segment: &Segment, cx: &mut Cx<'_>) -> bool {
        let ack = segment.ack;
        // RFC 5961 §5.2: only (SND.UNA - MAX.SND.WND) <= SEG.ACK <= SND.NXT.
        if ack.gt(self.snd_max) || ack.lt(self.snd_una - self.max_snd_wnd) {
            self.challenge(cx);
            return false;
        }
        if ack.gt(self.snd_una) {
            self.new_ack_arrives(segment, cx);
            return true;
        }
        self.peer_answered(cx);
        if ack.lt(self.snd_una) {
            return true;
        }
        let window = self.window_of(segment);
        let outstanding = self.snd_max != self.snd_una;
        if window == 0 {
            // A peer that says so is alive (RFC 9293 §3.8.6.1, MUST-36): the time-out of retransmissions counts from here.
            self.stalled_since = cx.now;
        }
        let duplicate = outstanding
            && segment.len == 0
            && !segment.flags.intersects(TcpFlags::SYN | TcpFlags::FIN)
            && (window == self.snd_wnd || segment.has_sack());
        if duplicate {
            cx.net.counters.count(Counter::TcpExtTcpDupAcks);
            self.on_duplicate_ack(cx);
            self.request(Pending::OUTPUT, cx);
        }
        if self.update_window(segment, window) && !duplicate {
            self.request(Pending::OUTPUT, cx);
        }
        true
    }

    /// An acceptable acknowledgement of something new.
    pub fn new_ack_arrives(&mut self, segment: &Segment, cx: &mut Cx<'_>) {
        self.peer_answered(cx);
        self.update_window(segment, self.window_of(segment));
        self.advance(segment, cx);
    }

    /// RFC 7323 §2.2: the window of a SYN is never scaled.
    pub fn window_of(&self, segment: &Segment) -> u32 {
        let shift = if segment.flags.contains(TcpFlags::SYN) { 0 } else { self.snd_shift };
        u32::from(segment.window) << shift
    }

    fn peer_answered(&mut self, cx: &mut Cx<'_>) {
        self.last_ack_received = cx.now;
        self.keepalive.probes = 0;
        self.probes = 0;
    }

    /// RFC 9293 §3.10.7.4: the window of the latest segment counts. True if it opened.
    fn update_window(&mut self, segment: &Segment, window: u32) -> bool {
        if !(self.snd_wl1.lt(segment.seq) || self.snd_wl1 == segment.seq && self.snd_wl2.leq(segment.ack)) {
            return false;
        }
        self.snd_wl1 = segment.seq;
        self.snd_wl2 = segment.ack;
        let opened = window > self.snd_wnd;
        if opened && self.snd_una == self.snd_max {
            // What the probe timer waited for.
            self.deadlines.retransmit = Instant::FAR_FUTURE;
            self.rtt.backoff = 0;
        }
        self.snd_wnd = window;
        self.max_snd_wnd = self.max_snd_wnd.max(window);
        opened
    }

    /// New data was acknowledged.
    fn advance(&mut self, segment: &Segment, cx: &mut Cx<'_>) {
        let now = cx.now;
        let ack = segment.ack;
        let acked = ack.distance_from(self.snd_una);
        let writable = self.is_writable();
        self.measure(segment, now);
        let data = (self.send.len() as u32).min(acked);
        self.send.advance(data as usize);
        self.stats.bytes_acked += u64::from(data);
        if self.fin_queued && acked > data && !self.fin_acked {
            self.fin_acked = true;
        }
        self.snd_una = ack;
        self.snd_nxt = self.snd_nxt.max(ack);
        self.snd_small = self.snd_small.max(ack);
        self.retries = 0;
        self.soft_error = None;
        self.meta.confirm = true;
        if self.snd_una == self.snd_max {
            self.deadlines.retransmit = Instant::FAR_FUTURE;
        } else {
            self.restart_retransmit_timer(now);
        }
        self.on_new_ack(acked, cx);
        self.grow_send_buffer(cx);
        if !writable && self.is_writable() {
            self.notify(cx);
        }
        if self.send.len() > 0 || self.fin_queued {
            self.request(Pending::OUTPUT, cx);
        }
    }

    /// The round-trip time: of the timed segment (RFC 6298 §3), else by the timestamp that is echoed (RFC 7323 §4.1), which is
    /// also right for a retransmitted segment.
    fn measure(&mut self, segment: &Segment, now: Instant) {
        match self.timing {
            Some(timing) if segment.ack.geq(timing.until) => {
                self.timing = None;
                self.rtt.sample_nanos(now.nanos_since(timing.since));
            }
            Some(_) => {}
            None => {
                if let Some((_, echo)) = segment.timestamps.filter(|_| self.timestamps)
                    && echo != 0
                {
                    let delta = self.timestamp(now).wrapping_sub(echo);
                    if delta < 1 << 30 {
                        // A tick is a millisecond: the sample may be a whole one short.
                        self.rtt.sample(Duration::from_millis(u64::from(delta)).max(Duration::from_millis(1)));
                    }
                }
            }
        }
    }

    /// Lets the send buffer grow with the congestion window: twice the window, so that the program can fill the next while one
    /// is in flight. (SO_SNDBUF as read back counts double, as on Linux.)
    pub fn grow_send_buffer(&mut self, cx: &mut Cx<'_>) {
        if self.common.send_buffer_locked {
            return;
        }
        let wanted = 4 * self.congestion.window() as usize;
        if wanted > self.common.options.send_buffer {
            self.common.options.send_buffer =
                wanted.min(cx.net.settings.tcp_wmem.2).max(self.common.options.send_buffer);
        }
    }

    /// Bytes that can be added to the send buffer.
    pub fn send_space(&self) -> usize {
        (self.common.options.send_buffer / 2).saturating_sub(self.send.len())
    }

    /// Whether poll(2) says that the socket can be written: a third of the buffer is free (Linux's sk_stream_is_writeable).
    pub fn is_writable(&self) -> bool {
        self.send_space() > 0 && self.send_space() >= self.send.len() / 2
    }
}
