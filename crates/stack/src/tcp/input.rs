//! Received segments of connections (RFC 9293 §3.10.7), with a fast path for what data transfer consists of: in-order data and
//! acknowledgements of new data on an established connection where nothing else is going on.

use wireway_packet::Packet;
use wireway_wire::{SeqNumber, TcpFlags, TcpOptions};

use super::connection::{Connection, Pending};
use super::flow::{Endpoint, Flow, FlowTarget, Flows, KeyV4, KeyV6, link_of};
use super::shared::Cx;
use super::state::State;
use super::time_wait::PAWS_IDLE;
use crate::net::{Inbound, IpHeader};
use crate::{Counter, DropReason, Error, InterfaceId};

/// A received segment's header, taken apart.
pub(crate) struct Segment<'a> {
    /// By which it came in.
    pub interface: InterfaceId,
    /// Ours and the peer's.
    pub ports: (u16, u16),
    pub seq: SeqNumber,
    pub ack: SeqNumber,
    pub flags: TcpFlags,
    /// As on the wire, not scaled.
    pub window: u16,
    pub timestamps: Option<(u32, u32)>,
    /// All options, if there are others than timestamps, or if it is a SYN.
    pub options: Option<&'a TcpOptions>,
    /// Bytes of payload.
    pub len: u32,
    /// Bytes of payload in each of a super-segment's segments; else `len`.
    pub segment_size: u32,
}

impl Segment<'_> {
    /// The sequence number after everything in the segment.
    pub fn end(&self) -> SeqNumber {
        self.seq + self.len + u32::from(self.flags.contains(TcpFlags::SYN)) + u32::from(self.is_fin())
    }

    /// The flow that it belongs to.
    pub fn flow(&self, inbound: &Inbound) -> Flow {
        let local = Endpoint::new(inbound.destination(), self.ports.0);
        Flow::new(local, Endpoint::new(inbound.source(), self.ports.1), inbound.interface)
    }

    /// What the flow leads to.
    #[inline(always)]
    pub fn target(&self, inbound: &Inbound, flows: &Flows) -> Option<FlowTarget> {
        match &inbound.header {
            IpHeader::V4(ip) => flows.find_v4(&KeyV4::new(ip.dst(), ip.src(), self.ports)),
            IpHeader::V6(ip) => {
                let link = link_of(ip.dst(), ip.src(), self.interface);
                flows.find_v6(&KeyV6::new(ip.dst(), ip.src(), self.ports, link))
            }
        }
    }

    pub fn is_fin(&self) -> bool {
        self.flags.contains(TcpFlags::FIN)
    }

    /// Whether it has data or FIN, and no SYN: no part of a loop of acknowledgements, and so answered each time (Linux's
    /// tcp_oow_rate_limited).
    pub fn has_text(&self) -> bool {
        (self.len > 0 || self.is_fin()) && !self.flags.contains(TcpFlags::SYN)
    }

    /// Whether it tells of data received ahead of a hole.
    pub fn has_sack(&self) -> bool {
        self.options.is_some_and(|options| !options.sack_blocks.is_empty())
    }
}

/// What became of a segment; a drop is counted by the caller.
pub(crate) type Verdict = Result<(), DropReason>;

impl Connection {
    /// Takes a segment in; of `packet`, which is its payload, what it wants.
    pub fn segment_arrives(&mut self, segment: &Segment, packet: &mut Packet, cx: &mut Cx<'_>) -> Verdict {
        self.stats.segments_in += 1;
        let verdict = match self.state {
            State::Established if self.is_expected(segment) => {
                self.expected_arrives(segment, packet, cx);
                Ok(())
            }
            State::SynSent => self.in_syn_sent(segment, packet, cx),
            State::Held => self.in_held(segment, cx),
            State::TimeWait | State::Closed => Err(DropReason::NoSocket),
            _ => self.synchronized(segment, packet, cx),
        };
        self.arm(cx);
        verdict
    }

    /// Header prediction: whether the segment is in-order data or a new acknowledgement, and nothing else is going on.
    #[inline]
    fn is_expected(&self, segment: &Segment) -> bool {
        segment.flags | TcpFlags::PSH == TcpFlags::PSH | TcpFlags::ACK
            && segment.seq == self.rcv_nxt
            && segment.ack.geq(self.snd_una)
            && segment.ack.leq(self.snd_max)
            && segment.options.is_none()
            && segment.len <= self.receive_window()
            // A new acknowledgement brings its window along; else the window must be what it was.
            && (segment.ack != self.snd_una
                || segment.len > 0 && u32::from(segment.window) << self.snd_shift == self.snd_wnd)
            && self.reassembly.is_empty()
            && !self.recovery.active
            && match segment.timestamps {
                Some((value, _)) => self.timestamps && value.wrapping_sub(self.ts_recent) as i32 >= 0,
                None => !self.timestamps,
            }
    }

    fn expected_arrives(&mut self, segment: &Segment, packet: &mut Packet, cx: &mut Cx<'_>) {
        self.note_timestamp(segment, cx);
        if segment.ack != self.snd_una {
            self.new_ack_arrives(segment, cx);
        } else {
            // The window is what it was; that it is of this segment keeps the comparison from wrapping.
            self.snd_wl1 = segment.seq;
        }
        if segment.len > 0 {
            self.accept(packet, segment.segment_size, segment.timestamps.map(|t| t.1), cx);
            self.schedule_ack(cx);
            self.notify(cx);
        }
    }

    /// The states from SYN-RECEIVED on (RFC 9293 §3.10.7.4).
    pub fn synchronized(&mut self, segment: &Segment, packet: &mut Packet, cx: &mut Cx<'_>) -> Verdict {
        let flags = segment.flags;
        self.check_paws(segment, cx)?;
        // First: the sequence number. What was received but not yet acknowledged passes, for the sake of its acknowledgement field.
        let window = self.receive_window();
        if segment.end().lt(self.last_ack_sent) || segment.seq.gt(self.rcv_nxt + window) {
            return self.unacceptable(segment, cx);
        }
        // Second: reset (RFC 5961 §3.2).
        if flags.contains(TcpFlags::RST) {
            return self.reset_arrives(segment, cx);
        }
        // Fourth: SYN (RFC 5961 §4.2).
        if flags.contains(TcpFlags::SYN) {
            cx.net.counters.count(Counter::TcpExtTcpSynChallenge);
            if self.state == State::SynReceived && segment.seq == self.irs {
                // The peer repeats its SYN: it has not seen ours.
                if !flags.contains(TcpFlags::ACK) {
                    self.repeat_syn(cx);
                    return Ok(());
                }
            } else {
                self.challenge(cx);
                return Err(DropReason::TcpInvalidSyn);
            }
        }
        // Fifth: the acknowledgement.
        if !flags.contains(TcpFlags::ACK) {
            return Err(DropReason::TcpFlags);
        }
        if self.state == State::SynReceived {
            if segment.ack.leq(self.snd_una) || segment.ack.gt(self.snd_max) {
                // <SEQ=SEG.ACK><CTL=RST>
                self.reset_at(segment.ack, cx);
                return Err(DropReason::TcpInvalidAckSequence);
            }
            self.handshake_acknowledged(segment, cx);
        } else if !self.process_ack(segment, cx) {
            return Err(DropReason::TcpInvalidAckSequence);
        }
        self.note_timestamp(segment, cx);
        match self.state {
            State::FinWait1 if self.fin_acked => {
                self.state = State::FinWait2;
                self.enter_fin_wait_2(cx);
                self.notify(cx);
            }
            State::Closing if self.fin_acked => {
                if self.last_ack_sent != self.rcv_nxt {
                    // Both came in one batch: the peer's FIN is still to be acknowledged, and the entry cannot answer for it.
                    self.send_ack(cx);
                }
                self.state = State::TimeWait;
            }
            State::LastAck if self.fin_acked => {
                self.end(None, cx);
                return Ok(());
            }
            _ => {}
        }
        // Seventh and eighth: the payload and FIN.
        self.text_arrives(segment, packet, cx)
    }

    /// RFC 7323 §5.3 R1: an old duplicate, by its timestamp.
    fn check_paws(&mut self, segment: &Segment, cx: &mut Cx<'_>) -> Verdict {
        if !self.timestamps || segment.flags.contains(TcpFlags::RST) {
            return Ok(());
        }
        let Some((value, _)) = segment.timestamps else {
            // RFC 7323 §3.2: once negotiated, every segment but a reset carries it.
            return Err(DropReason::TcpNoTimestamp);
        };
        let old = (value.wrapping_sub(self.ts_recent) as i32) < 0;
        // A clock that stood longer than its half cycle says nothing (§5.5).
        if !old || cx.now.since(self.ts_recent_at) > PAWS_IDLE {
            return Ok(());
        }
        cx.net.counters.count(Counter::TcpExtPawsEstab);
        if segment.len > 0 {
            self.send_ack(cx)
        } else {
            self.reject(cx)
        }
        Err(DropReason::TcpRfc7323Paws)
    }

    /// RFC 7323 §4.3: what is echoed is the timestamp of the segment that covers Last.ACK.sent.
    fn note_timestamp(&mut self, segment: &Segment, cx: &mut Cx<'_>) {
        if let Some((value, _)) = segment.timestamps
            && self.timestamps
            && segment.seq.leq(self.last_ack_sent)
            && (value.wrapping_sub(self.ts_recent) as i32 >= 0 || cx.now.since(self.ts_recent_at) > PAWS_IDLE)
        {
            self.ts_recent = value;
            self.ts_recent_at = cx.now;
        }
    }

    fn unacceptable(&mut self, segment: &Segment, cx: &mut Cx<'_>) -> Verdict {
        let reason = if segment.end().lt(self.last_ack_sent) {
            DropReason::TcpOldSequence
        } else {
            DropReason::TcpInvalidSequence
        };
        if segment.flags.contains(TcpFlags::RST) {
            return if self.is_reset_before_fin(segment) { self.reset_arrives(segment, cx) } else { Err(reason) };
        }
        if segment.flags.contains(TcpFlags::SYN) {
            cx.net.counters.count(Counter::TcpExtTcpSynChallenge);
            self.challenge(cx);
            return Err(reason);
        }
        if segment.has_text() && reason == DropReason::TcpOldSequence {
            // Our acknowledgement was lost, or the network duplicates.
            self.ack.hurry();
            self.ack.set_duplicate(segment.seq, segment.end());
        }
        if segment.has_text() {
            self.send_ack(cx)
        } else {
            self.reject(cx)
        }
        Err(reason)
    }

    /// A reset has the number of the peer's FIN: as from a peer that forgot having sent it.
    fn is_reset_before_fin(&self, segment: &Segment) -> bool {
        self.fin_received && segment.seq + 1 == self.rcv_nxt
    }

    fn reset_arrives(&mut self, segment: &Segment, cx: &mut Cx<'_>) -> Verdict {
        if segment.seq != self.rcv_nxt && !self.is_reset_before_fin(segment) {
            self.challenge(cx);
            return Err(DropReason::TcpInvalidSequence);
        }
        let error = match self.state {
            State::SynReceived if self.owner == super::connection::Owner::Program => Some(Error::ConnectionRefused),
            State::CloseWait => Some(Error::BrokenPipe),
            State::TimeWait => None,
            // CLOSING and LAST-ACK too, as Linux: what was sent may be lost.
            _ => Some(Error::ConnectionReset),
        };
        match self.state {
            State::SynReceived => cx.net.counters.count(Counter::TcpAttemptFails),
            State::Established | State::CloseWait => cx.net.counters.count(Counter::TcpEstabResets),
            _ => {}
        }
        self.end(error, cx);
        Ok(())
    }

    /// The payload, within the window, in order or not; then FIN.
    pub fn text_arrives(&mut self, segment: &Segment, packet: &mut Packet, cx: &mut Cx<'_>) -> Verdict {
        let fin = segment.is_fin();
        if segment.len == 0 && !fin {
            return Ok(());
        }
        if !matches!(self.state, State::Established | State::FinWait1 | State::FinWait2) {
            // After the peer's FIN nothing can follow; what comes is repeated, and so is our answer.
            if segment.end().leq(self.rcv_nxt) {
                self.ack.set_duplicate(segment.seq, segment.end());
                self.send_ack(cx);
            }
            return Err(DropReason::TcpOldSequence);
        }
        let mut seq = segment.seq + u32::from(segment.flags.contains(TcpFlags::SYN));
        let end = seq + segment.len;
        let echo = segment.timestamps.map(|t| t.1);
        if self.read_shut && self.state != State::Established && end.gt(self.rcv_nxt) && segment.len > 0 {
            // Nobody will read this (RFC 9293 §3.6.1, RFC 1122 §4.2.2.13): Linux's TCPAbortOnData.
            cx.net.counters.count(Counter::TcpExtTcpAbortOnData);
            // Of the number that the peer expects, whether it has our FIN or not.
            self.reset_at(segment.ack, cx);
            self.end(Some(Error::ConnectionReset), cx);
            return Err(DropReason::TcpAbortOnData);
        }
        if seq.lt(self.rcv_nxt) {
            let known = self.rcv_nxt.distance_from(seq);
            if end.lt(self.rcv_nxt) || end == self.rcv_nxt && !fin {
                self.ack.hurry();
                self.ack.set_duplicate(seq, end);
                self.send_ack(cx);
                return Err(DropReason::TcpOldData);
            }
            if known > 0 {
                self.ack.set_duplicate(seq, self.rcv_nxt);
            }
            packet.trim_front(known as usize);
            seq = self.rcv_nxt;
        }
        let right = self.rcv_nxt + self.receive_window();
        let mut cut = false;
        if end.gt(right) {
            cut = true;
            packet.truncate((right - seq).max(0) as usize);
            if packet.is_empty() {
                cx.net.counters.count(Counter::TcpExtTcpZeroWindowDrop);
                self.send_ack(cx);
                return Err(DropReason::TcpZeroWindow);
            }
        }
        self.last_received = cx.now;
        let fin = fin && !cut;
        if seq != self.rcv_nxt {
            return self.ahead_of_hole(seq, core::mem::take(packet), fin, cx);
        }
        let closes_hole = !self.reassembly.is_empty();
        if closes_hole && self.ack.duplicate().is_none() {
            let start = self.stats.bytes_received;
            if let Some(known) = self.reassembly.overlap(start..start + packet.len() as u64) {
                self.set_duplicate(known);
            }
        }
        if !packet.is_empty() {
            self.accept(packet, segment.segment_size, echo, cx);
        }
        while let Some(mut packet) = self.reassembly.take(self.stats.bytes_received) {
            let len = packet.len() as u32;
            self.accept(&mut packet, len, None, cx);
        }
        let fin = fin && self.rcv_nxt == end || self.reassembly.is_fin(self.stats.bytes_received);
        if fin {
            self.fin_arrives(cx);
        } else {
            self.schedule_ack(cx);
        }
        if closes_hole {
            // RFC 5681 §4.2: at once when a hole is filled.
            self.request(Pending::ACK, cx);
        }
        self.notify(cx);
        Ok(())
    }

    /// RFC 5681 §4.2: an immediate duplicate acknowledgement.
    fn ahead_of_hole(&mut self, seq: SeqNumber, packet: Packet, fin: bool, cx: &mut Cx<'_>) -> Verdict {
        cx.net.counters.count(Counter::TcpExtTcpOfoQueue);
        let start = self.position(seq);
        if fin {
            self.reassembly.set_fin(start + packet.len() as u64);
        }
        self.ack.hurry();
        if !packet.is_empty() {
            let limit = self.receive_memory_limit();
            if let Some(known) = self.reassembly.insert(start, packet, limit) {
                self.set_duplicate(known);
            }
        }
        self.send_ack(cx);
        Ok(())
    }

    /// These positions in the stream, none of them before `rcv_nxt`, came twice (RFC 2883).
    fn set_duplicate(&mut self, known: core::ops::Range<u64>) {
        let seq = |position: u64| self.rcv_nxt + (position - self.stats.bytes_received) as u32;
        let (left, right) = (seq(known.start), seq(known.end));
        self.ack.set_duplicate(left, right);
    }

    /// Appends in-order bytes to the receive buffer.
    #[inline(always)]
    fn accept(&mut self, packet: &mut Packet, segment_size: u32, echo: Option<u32>, cx: &mut Cx<'_>) {
        let len = packet.len() as u32;
        let limit = self.receive_memory_limit();
        self.receive.push(packet, limit);
        self.rcv_nxt += len;
        self.stats.bytes_received += u64::from(len);
        self.stats.data_segments_in += 1;
        self.last_received = cx.now;
        self.ack.learn_segment_size(segment_size, u32::from(self.advertised_mss));
        self.measure_receive_rtt(segment_size, echo.filter(|_| self.timestamps), cx.now);
    }

    /// The peer's stream has ended (RFC 9293 §3.10.7.4, eighth).
    fn fin_arrives(&mut self, cx: &mut Cx<'_>) {
        self.rcv_nxt += 1;
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt);
        self.fin_received = true;
        self.reassembly.clear();
        if self.state == State::Established {
            // Our own FIN is likely to follow, and can carry the acknowledgement.
            self.ack.expect_answer();
            self.schedule_ack(cx);
        } else {
            self.request(Pending::ACK, cx);
        }
        self.state = match self.state {
            State::Established => State::CloseWait,
            State::FinWait1 if self.fin_acked => State::TimeWait,
            State::FinWait1 => State::Closing,
            State::FinWait2 => State::TimeWait,
            other => other,
        };
        if self.state == State::TimeWait {
            // The connection becomes an entry that cannot answer for it.
            self.send_ack(cx);
        }
    }

    /// Nobody waits for the peer's FIN for ever (Linux's tcp_fin_timeout).
    pub fn enter_fin_wait_2(&mut self, cx: &mut Cx<'_>) {
        if self.is_orphan() {
            let wait = self.common.options.linger2.unwrap_or(cx.net.settings.tcp_fin_timeout);
            self.deadlines.linger = cx.now + wait;
        }
    }
}
