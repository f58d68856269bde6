//! Output: what may be sent now, and segments from the send buffer.
//!
//! # Theory of operation
//!
//! `output` sends from `snd_nxt` on while the peer's window and the congestion window allow, in super-segments as large as they
//! allow: a whole number of full segments, which a nic or `Host::transmit` cuts. A partial segment is held back by Nagle's
//! rule as Minshall refined it (only while another partial one is unacknowledged), by TCP_CORK and MSG_MORE, and where the peer's
//! window is what makes it partial (silly-window avoidance, RFC 9293 §3.8.6.2.1).
//!
//! Segments share the send buffer's blocks; the header is written in front of them in one piece.

use wireway_packet::{Checksum, INLINE, Offload, Packet, SegmentKind, Segmentation};
use wireway_wire::tcp_options::TIMESTAMPS_LEN;
use wireway_wire::{SackBlocks, SeqNumber, TcpFlags};

use super::congestion::CongestionControl;
use super::connection::{Connection, Pending};
use super::header::{Header, write_header};
use super::path_mtu::ip_header_len;
use super::rto::Timing;
use super::shared::Cx;
use super::state::State;
use crate::{Counter, Error};

/// The largest IP packet, of either family, that a super-segment makes.
const MAX_IP_PACKET: usize = 65_535;

impl Connection {
    /// Does what was noted for the next flush.
    pub fn flush(&mut self, cx: &mut Cx<'_>) {
        let pending = core::mem::take(&mut self.pending);
        if pending.contains(Pending::OUTPUT) {
            self.output(cx);
        }
        // Data that went out has carried the acknowledgement.
        if pending.contains(Pending::ACK) && self.last_ack_sent != self.rcv_nxt {
            self.send_ack(cx);
        }
        self.arm(cx);
    }

    /// The payload of a full segment now: the maximum segment size without the options that it will carry (RFC 6691 §4).
    #[inline]
    pub fn send_mss(&self) -> u32 {
        self.mss.saturating_sub(self.options_len()).max(1)
    }

    /// Whether the next segment tells of data received ahead of a hole, or twice.
    #[inline]
    fn has_sack(&self) -> bool {
        self.sack && (!self.reassembly.is_empty() || self.ack.duplicate().is_some())
    }

    /// Bytes of options that the next segment will carry.
    #[inline]
    fn options_len(&self) -> u32 {
        let timestamps = if self.timestamps { TIMESTAMPS_LEN as u32 } else { 0 };
        if self.has_sack() { timestamps + self.sack_len() } else { timestamps }
    }

    #[cold]
    fn sack_len(&self) -> u32 {
        match self.sack_blocks().len() as u32 {
            0 => 0,
            n => 4 + 8 * n,
        }
    }

    /// What we tell the peer of what we hold (RFC 2018 §4), a duplicate first (RFC 2883).
    fn sack_blocks(&self) -> SackBlocks {
        let mut blocks = SackBlocks::new();
        let room = if self.timestamps { 3 } else { 4 };
        if let Some((left, right)) = self.ack.duplicate() {
            blocks.push(left, right);
        }
        for block in self.reassembly.blocks(self.stats.bytes_received) {
            if blocks.len() == room {
                break;
            }
            let seq = |position: u64| self.rcv_nxt + (position - self.stats.bytes_received) as u32;
            blocks.push(seq(block.start), seq(block.end));
        }
        blocks
    }

    /// Sends what may be sent.
    pub fn output(&mut self, cx: &mut Cx<'_>) {
        if !self.state.is_synchronized() {
            return;
        }
        let end = self.data_end();
        if self.flight() == 0 && end.gt(self.snd_nxt) && self.rtt.is_idle(self.last_sent, cx.now) && self.retries == 0 {
            self.congestion.on_idle(cx.now.since(self.last_sent), self.rtt.base(), self.send_mss());
        }
        let mut mss = self.send_mss();
        let mut corked = false;
        loop {
            let unsent = (end - self.snd_nxt).max(0) as u32;
            let fin = self.fin_queued && self.snd_nxt.leq(end) && !self.fin_acked;
            let flight = self.flight();
            let offered = self.snd_wnd.saturating_sub(flight);
            if unsent == 0 {
                // A FIN alone waits for the peer's window, not for the network's.
                if fin && offered > 0 {
                    self.send_next(0, true, mss, cx);
                }
                break;
            }
            let allowed = self.congestion_window().saturating_sub(flight);
            let mut len = unsent.min(offered).min(allowed);
            if len > mss {
                len = len.min(self.largest_payload(mss));
            }
            let tail = len == unsent;
            let partial = if len < mss { len } else { len % mss };
            if partial > 0 && self.snd_nxt == self.snd_max {
                let hold = if tail {
                    let hold = !self.fin_queued && self.holds_partial(flight + (len - partial));
                    corked |= hold && flight == 0;
                    hold
                } else {
                    // The windows cut it. Where it is the peer's: worth it only if half of the largest ever offered (§3.8.6.2.1 (3)).
                    len >= mss || allowed < offered || len < self.max_snd_wnd / 2
                };
                if hold && !self.push {
                    len -= partial;
                }
            }
            if len == 0 {
                break;
            }
            if !self.send_next(len, tail && len == unsent && fin, mss, cx) {
                // The path takes less than it did.
                mss = self.send_mss();
                continue;
            }
            self.push = false;
            if len == unsent {
                break;
            }
        }
        self.note_usage();
        if self.snd_max == self.snd_una && (self.unsent() > 0 || self.fin_queued && !self.fin_acked) {
            self.schedule_probe(cx.now, corked);
        }
        self.arm(cx);
    }

    /// Whether a partial segment at the end of the buffer waits for more data or for an acknowledgement.
    fn holds_partial(&self, flight: u32) -> bool {
        if self.common.options.cork || self.more {
            return true;
        }
        // RFC 896 and RFC 9293 §3.7.4, as Minshall refined it (draft-minshall-nagle-01), which is what Linux does.
        !self.common.options.no_delay && flight > 0 && self.snd_small.gt(self.snd_una)
    }

    /// The largest payload of a super-segment: whole segments within one IP packet.
    fn largest_payload(&self, mss: u32) -> u32 {
        let headers = u32::from(ip_header_len(&self.flow)) + wireway_wire::TcpHeader::LEN as u32;
        let room = MAX_IP_PACKET as u32 - headers - self.options_len();
        (room / mss).max(1) * mss.min(room)
    }

    /// Sends the next `len` bytes from `snd_nxt`. False if they could not be sent for now.
    fn send_next(&mut self, len: u32, fin: bool, mss: u32, cx: &mut Cx<'_>) -> bool {
        let seq = self.snd_nxt;
        let next = seq + len + u32::from(fin);
        if !self.send_range(seq, len, fin, cx) {
            return false;
        }
        self.snd_nxt = next;
        if next.gt(self.snd_max) {
            self.snd_max = next;
            if self.timing.is_none() && self.retries == 0 {
                self.timing = Some(Timing { until: next, since: cx.now });
            }
            if len < mss || !len.is_multiple_of(mss) {
                self.snd_small = next;
            }
        }
        if self.deadlines.retransmit == wireway_packet::Instant::FAR_FUTURE
            || self.probes > 0
            || self.flight() == next.distance_from(seq)
        {
            self.restart_retransmit_timer(cx.now);
        }
        true
    }

    /// Builds and sends one (super-)segment of the bytes `seq..seq + len`. False if the path's MTU turned out smaller.
    pub fn send_range(&mut self, seq: SeqNumber, len: u32, fin: bool, cx: &mut Cx<'_>) -> bool {
        let mut flags = TcpFlags::ACK;
        let end = seq + len;
        if fin {
            flags |= TcpFlags::FIN;
        }
        let mut packet = Packet::new();
        if len > 0 {
            if end.geq(self.data_end()) {
                flags |= TcpFlags::PSH;
            }
            let at = seq.distance_from(self.data_start()) as usize;
            self.send.fill_packet(&mut packet, at, len as usize, len as usize <= INLINE);
        }
        let repeated = seq.lt(self.snd_max);
        if repeated {
            self.stats.retransmissions += 1;
            self.stats.bytes_retransmitted += u64::from(len);
            cx.net.counters.count(Counter::TcpRetransSegs);
        }
        if len > 0 {
            self.stats.data_segments_out += 1;
            self.stats.bytes_sent += u64::from(len);
            if self.stats.data_segments_in > 0 {
                self.ack.on_data_sent(cx.now, self.last_received);
            }
        }
        self.last_sent = cx.now;
        match self.send_packet(seq, flags, packet, cx) {
            Err(Error::MessageTooLong) => !self.refresh_path_mtu(cx),
            // What was dropped on the way out is lost like any other segment.
            _ => true,
        }
    }

    /// Puts the header in front of `packet`, with the current acknowledgement and window, and sends it.
    #[inline]
    pub fn send_packet(
        &mut self,
        seq: SeqNumber,
        flags: TcpFlags,
        packet: Packet,
        cx: &mut Cx<'_>,
    ) -> crate::Result<()> {
        let window = self.select_window();
        self.send_raw(seq, flags, window, packet, cx)
    }

    #[inline]
    fn send_raw(
        &mut self,
        seq: SeqNumber,
        flags: TcpFlags,
        window: u16,
        mut packet: Packet,
        cx: &mut Cx<'_>,
    ) -> crate::Result<()> {
        let len = packet.len();
        let sack = self.has_sack().then(|| self.sack_blocks());
        let header = Header {
            flow: &self.flow,
            seq,
            ack: self.rcv_nxt,
            flags,
            window,
            timestamps: self.timestamps.then(|| (self.timestamp(cx.now), self.ts_recent)),
            sack,
        };
        let header_len = write_header(&mut packet, &header, self.pseudo);
        let mss = self.mss.saturating_sub((header_len - wireway_wire::TcpHeader::LEN) as u32).max(1);
        if len > mss as usize {
            let kind = if self.flow.local.address.is_ipv4() { SegmentKind::Tcp4 } else { SegmentKind::Tcp6 };
            let segmentation = Segmentation { kind, size: mss as u16, header_len: header_len as u16 };
            let checksum: Checksum = packet.offload().checksum;
            *packet.offload_mut() = Offload { checksum, segmentation: Some(segmentation), tag: None };
        }
        self.last_ack_sent = self.rcv_nxt;
        self.deadlines.delayed_ack = wireway_packet::Instant::FAR_FUTURE;
        self.ack.on_ack_sent();
        self.stats.segments_out += 1;
        cx.net.counters.count(Counter::TcpOutSegs);
        let result = cx.net.send_by(cx.now, &mut self.path, &self.meta, packet);
        self.meta.confirm = false;
        result
    }

    /// Sends an acknowledgement without data.
    pub fn send_ack(&mut self, cx: &mut Cx<'_>) {
        let seq = self.ack_seq();
        // A lost acknowledgement is repeated by the next one.
        let _ = self.send_packet(seq, TcpFlags::ACK, Packet::new(), cx);
    }

    /// The sequence number of segments without data: the next to send, within the peer's window.
    fn ack_seq(&self) -> SeqNumber {
        self.snd_max.min(self.snd_una + self.snd_wnd.max(self.flight()))
    }

    /// A segment that a living peer must answer: of a sequence number that was acknowledged before, without data (RFC 9293
    /// §3.8.4 and §3.8.6.1, as Linux and BSD do it).
    pub fn send_probe(&mut self, cx: &mut Cx<'_>) {
        let seq = self.snd_una - 1;
        let _ = self.send_packet(seq, TcpFlags::ACK, Packet::new(), cx);
    }

    /// Sends a reset for a connection of ours (RFC 9293 §3.5.2).
    pub fn send_reset(&mut self, cx: &mut Cx<'_>) {
        cx.net.counters.count(Counter::TcpOutRsts);
        let flags = if self.state == State::SynSent { TcpFlags::RST } else { TcpFlags::RST | TcpFlags::ACK };
        let seq = self.ack_seq();
        let _ = self.send_raw(seq, flags, 0, Packet::new(), cx);
    }
}
