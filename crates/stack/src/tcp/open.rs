//! Opening a connection actively (RFC 9293 §3.10.1, §3.10.7.3), simultaneously, or from a held SYN.

use wireway_packet::Packet;
use wireway_wire::{SeqNumber, TcpFlags, TcpOptions};

use super::connection::{Connection, Pending};
use super::flow::Flow;
use super::header::{Header, write_header_with};
use super::input::{Segment, Verdict};
use super::newreno::NewReno;
use super::rto::Timing;
use super::shared::Cx;
use super::state::State;
use super::window::{initial_window, shift_for};
use crate::{Counter, DropReason, Error};

/// The segment size of a peer that names none, by IPv4 and by IPv6 (RFC 9293 §3.7.1, MUST-15).
const DEFAULT_MSS_V4: u16 = 536;
const DEFAULT_MSS_V6: u16 = 1220;
/// Smaller than this is not believed (Linux's TCP_MIN_SND_MSS, so that a peer cannot make us send crumbs).
pub(crate) const MIN_MSS: u16 = 48;

/// The options of a peer's SYN, as far as they count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerOptions {
    pub mss: u16,
    pub window_scale: Option<u8>,
    pub sack: bool,
    /// The timestamp value.
    pub timestamp: Option<u32>,
}

impl PeerOptions {
    pub fn new(options: &TcpOptions, flow: &Flow) -> PeerOptions {
        let default = if flow.remote.address.is_ipv4() { DEFAULT_MSS_V4 } else { DEFAULT_MSS_V6 };
        PeerOptions {
            mss: options.mss.filter(|&mss| mss > 0).unwrap_or(default).max(MIN_MSS),
            window_scale: options.window_scale.map(|shift| shift.min(super::window::MAX_SHIFT)),
            sack: options.sack_permitted,
            timestamp: options.timestamps.map(|t| t.0),
        }
    }
}

impl Connection {
    /// Begins an active open: the addresses, port and path are known.
    pub fn connect(&mut self, cx: &mut Cx<'_>) {
        cx.net.counters.count(Counter::TcpActiveOpens);
        let settings = &cx.net.settings;
        self.timestamps = settings.tcp_timestamps;
        self.sack = settings.tcp_sack;
        self.window_scaling = settings.tcp_window_scaling;
        let largest = if self.common.receive_buffer_locked { self.tuning.buffer } else { settings.tcp_rmem.2 };
        self.rcv_shift = if self.window_scaling { shift_for(largest) } else { 0 };
        self.state = State::SynSent;
        self.connect_unreported = true;
        self.snd_nxt = self.iss + 1;
        self.snd_max = self.snd_nxt;
        self.timing = Some(Timing { until: self.snd_nxt, since: cx.now });
        self.send_syn(cx);
        self.restart_retransmit_timer(cx.now);
        self.arm(cx);
    }

    /// Sends our SYN, or SYN-ACK, with Linux's options in Linux's order.
    pub fn send_syn(&mut self, cx: &mut Cx<'_>) {
        let answer = self.state == State::SynReceived;
        let flags = if answer { TcpFlags::SYN | TcpFlags::ACK } else { TcpFlags::SYN };
        let options = TcpOptions {
            mss: Some(self.advertised_mss),
            window_scale: self.window_scaling.then_some(self.rcv_shift),
            sack_permitted: self.sack,
            timestamps: self.timestamps.then(|| (self.timestamp(cx.now), self.ts_recent)),
            ..TcpOptions::default()
        };
        let room = u32::from(self.advertised_mss) - if answer && self.timestamps { 12 } else { 0 };
        let window = initial_window(self.receive_capacity() as usize * 2, room);
        self.rcv_adv = self.rcv_nxt + window;
        let header = Header {
            flow: &self.flow,
            seq: self.iss,
            ack: self.rcv_nxt,
            flags,
            window: window as u16,
            timestamps: None,
            sack: None,
        };
        let mut packet = Packet::new();
        write_header_with(&mut packet, &header, &options, self.pseudo);
        self.last_sent = cx.now;
        self.last_ack_sent = self.rcv_nxt;
        self.stats.segments_out += 1;
        cx.net.counters.count(Counter::TcpOutSegs);
        if let Err(error) = cx.net.send_by(cx.now, &mut self.path, &self.meta, packet) {
            self.soft_error = Some(error);
        }
    }

    /// Sends our SYN, or SYN-ACK, again.
    pub fn repeat_syn(&mut self, cx: &mut Cx<'_>) {
        // Which of them is acknowledged cannot be told (Karn).
        self.timing = None;
        cx.net.counters.count(Counter::TcpRetransSegs);
        cx.net.counters.count(Counter::TcpExtTcpSynRetrans);
        self.stats.retransmissions += 1;
        self.send_syn(cx);
    }

    /// What the peer's SYN offers, joined with what we offered.
    pub fn take_options(&mut self, peer: &PeerOptions, cx: &mut Cx<'_>) {
        self.peer_mss = u32::from(peer.mss);
        self.sack &= peer.sack;
        self.timestamps &= peer.timestamp.is_some();
        self.ts_recent = peer.timestamp.unwrap_or(0);
        self.ts_recent_at = cx.now;
        match peer.window_scale {
            Some(shift) if self.window_scaling => self.snd_shift = shift,
            _ => {
                self.window_scaling = false;
                self.rcv_shift = 0;
                self.snd_shift = 0;
            }
        }
        self.update_mss();
    }

    /// The peer's SYN was seen: where its numbers begin.
    pub fn take_irs(&mut self, irs: SeqNumber) {
        self.irs = irs;
        self.rcv_nxt = irs + 1;
        self.last_ack_sent = irs;
    }

    /// The handshake is complete: what data transfer needs to know.
    pub fn establish(&mut self, cx: &mut Cx<'_>) {
        self.state = State::Established;
        self.soft_error = None;
        let lost_syn = self.retries > 1;
        if self.retries > 0 {
            self.rtt.handshake_lost_syn();
        }
        self.retries = 0;
        self.congestion = NewReno::new(self.send_mss(), lost_syn);
        self.recovery = super::recovery::Recovery::new(self.iss);
        self.deadlines.retransmit = wireway_packet::Instant::FAR_FUTURE;
        self.ack.peer_segment = self.peer_mss.min(536);
        self.snd_small = self.snd_una;
        self.last_received = cx.now;
        self.last_ack_received = cx.now;
        let window = self.receive_window();
        self.tuning.start(cx.now, window, u32::from(self.advertised_mss), self.rcv_nxt);
        self.grow_send_buffer(cx);
        self.update_keepalive(cx);
    }

    /// SYN-SENT (RFC 9293 §3.10.7.3).
    pub fn in_syn_sent(&mut self, segment: &Segment, packet: &mut Packet, cx: &mut Cx<'_>) -> Verdict {
        let &Segment { seq, ack, flags, .. } = segment;
        let acked = flags.contains(TcpFlags::ACK);
        if acked && (ack.leq(self.iss) || ack.gt(self.snd_max)) {
            if !flags.contains(TcpFlags::RST) {
                self.reset_at(ack, cx);
            }
            return Err(DropReason::TcpInvalidAckSequence);
        }
        if flags.contains(TcpFlags::RST) {
            if !acked {
                return Err(DropReason::TcpReset);
            }
            cx.net.counters.count(Counter::TcpAttemptFails);
            self.end(Some(Error::ConnectionRefused), cx);
            return Ok(());
        }
        if !flags.contains(TcpFlags::SYN) {
            return Err(DropReason::TcpFlags);
        }
        let Some(options) = segment.options else { return Err(DropReason::TcpMalformed) };
        self.take_irs(seq);
        self.take_options(&PeerOptions::new(options, &self.flow), cx);
        self.snd_wnd = u32::from(segment.window);
        self.max_snd_wnd = self.snd_wnd;
        self.snd_wl1 = seq;
        self.snd_wl2 = ack;
        // What the SYN offered stands.
        self.rcv_adv =
            self.rcv_nxt + initial_window(self.receive_capacity() as usize * 2, u32::from(self.advertised_mss));
        if !acked {
            // Both ends opened at once (RFC 9293 §3.5, figure 7).
            self.state = State::SynReceived;
            self.send_syn(cx);
            return Ok(());
        }
        self.handshake_rtt(segment, cx);
        self.snd_una = ack;
        self.establish(cx);
        self.request(Pending::ACK | Pending::OUTPUT, cx);
        self.notify(cx);
        self.text_arrives(segment, packet, cx)
    }

    /// SYN-RECEIVED, and our SYN is acknowledged.
    pub fn handshake_acknowledged(&mut self, segment: &Segment, cx: &mut Cx<'_>) {
        self.handshake_rtt(segment, cx);
        self.snd_una = self.iss + 1;
        self.snd_wnd = self.window_of(segment);
        self.max_snd_wnd = self.max_snd_wnd.max(self.snd_wnd);
        self.snd_wl1 = segment.seq;
        self.snd_wl2 = segment.ack;
        self.establish(cx);
        if self.fin_queued {
            self.state = State::FinWait1;
        }
        self.process_ack(segment, cx);
        self.request(Pending::OUTPUT, cx);
        self.notify(cx);
    }

    fn handshake_rtt(&mut self, segment: &Segment, cx: &mut Cx<'_>) {
        match self.timing.take() {
            Some(timing) => self.rtt.sample(cx.now.since(timing.since)),
            None => {
                if let Some((_, echo)) = segment.timestamps.filter(|_| self.timestamps) {
                    let delta = self.timestamp(cx.now).wrapping_sub(echo);
                    if echo != 0 && delta < 1 << 30 {
                        self.rtt.sample(core::time::Duration::from_millis(u64::from(delta).max(1)));
                    }
                }
            }
        }
    }

    /// A held connection: its SYN may come again, or be taken back.
    pub fn in_held(&mut self, segment: &Segment, cx: &mut Cx<'_>) -> Verdict {
        if segment.flags.contains(TcpFlags::RST) && segment.seq == self.rcv_nxt {
            self.end(Some(Error::ConnectionReset), cx);
            return Ok(());
        }
        Err(DropReason::TcpHeld)
    }

    /// The owner admits a held connection: its SYN is answered now.
    pub fn admit(&mut self, cx: &mut Cx<'_>) {
        cx.net.counters.count(Counter::TcpPassiveOpens);
        self.quote = None;
        self.leave_held(cx);
        self.state = State::SynReceived;
        self.snd_nxt = self.iss + 1;
        self.snd_max = self.snd_nxt;
        self.timing = Some(Timing { until: self.snd_nxt, since: cx.now });
        self.send_syn(cx);
        self.restart_retransmit_timer(cx.now);
        self.arm(cx);
    }

    /// Answers an unacceptable acknowledgement with a reset of its number (RFC 9293 §3.5.2, group 2).
    pub fn reset_at(&mut self, seq: SeqNumber, cx: &mut Cx<'_>) {
        cx.net.counters.count(Counter::TcpOutRsts);
        cx.net.counters.count(Counter::TcpOutSegs);
        let header = Header {
            flow: &self.flow,
            seq,
            ack: SeqNumber(0),
            flags: TcpFlags::RST,
            window: 0,
            timestamps: None,
            sack: None,
        };
        let mut packet = Packet::new();
        super::header::write_header(&mut packet, &header, self.pseudo);
        let _ = cx.net.send_ip(cx.now, &self.meta, packet);
    }
}
