//! From a packet to the connection, half-open connection, TIME-WAIT entry or listener that it is for (RFC 9293 §3.10.7), and the
//! answer to what is for none.

use wireway_packet::{Instant, Packet};
use wireway_wire::tcp_options::timestamps_only;
use wireway_wire::{Protocol, SeqNumber, TcpFlags, TcpHeader, TcpOptions, TcpView};

use super::Tcp;
use super::flow::{Flow, FlowTarget};
use super::header::{Header, pseudo, write_header};
use super::input::{Segment, Verdict};
use super::shared::Cx;
use super::time_wait::Answer;
use crate::net::{Inbound, IpMeta, Net};
use crate::{Counter, DropReason, InterfaceId};

/// Takes the header off a segment. Options other than timestamps alone are put into `place`.
#[inline(always)]
pub(super) fn parse<'a>(inbound: &mut Inbound, place: &'a mut Option<TcpOptions>) -> Result<Segment<'a>, DropReason> {
    if inbound.broadcast {
        // RFC 9293 §3.9.2.3, MUST-57.
        return Err(DropReason::OtherHost);
    }
    let packet = &mut inbound.packet;
    let Some(&mut [.., offset, _, _, _, _, _, _, _]) = packet.pullup(TcpHeader::LEN) else {
        return Err(DropReason::TcpMalformed);
    };
    let header_len = usize::from(offset >> 4) * 4;
    if header_len < TcpHeader::LEN || packet.pullup(header_len).is_none() {
        return Err(DropReason::TcpMalformed);
    }
    if !inbound.checksum_is_valid() {
        return Err(DropReason::TcpChecksum);
    }
    let packet = &mut inbound.packet;
    let head = packet.head().get(..header_len).unwrap_or_default();
    let Ok(view) = TcpView::parse_head(head) else { return Err(DropReason::TcpMalformed) };
    let fields = view.header.fields();
    let mut options = None;
    let timestamps = match timestamps_only(view.options) {
        Some(timestamps) if !fields.flags.contains(TcpFlags::SYN) => Some(timestamps),
        _ if view.options.is_empty() && !fields.flags.contains(TcpFlags::SYN) => None,
        _ => {
            let all = TcpOptions::parse_prefix(view.options);
            let all = place.insert(all);
            let timestamps = all.timestamps;
            options = Some(&*all);
            timestamps
        }
    };
    let segment_size = packet.offload().segmentation.map(|s| u32::from(s.size));
    packet.trim_front(header_len);
    let len = packet.len() as u32;
    Ok(Segment {
        interface: inbound.interface,
        ports: (fields.dst_port, fields.src_port),
        seq: fields.seq,
        ack: fields.ack,
        flags: fields.flags,
        window: fields.window,
        timestamps,
        options,
        len,
        segment_size: segment_size.unwrap_or(len).min(len),
    })
}

impl Tcp {
    /// A segment that is not for a connection.
    pub(super) fn dispatch(
        &mut self,
        net: &mut Net,
        now: Instant,
        target: Option<FlowTarget>,
        segment: &Segment,
        inbound: &mut Inbound,
    ) -> Verdict {
        let flow = segment.flow(inbound);
        match target {
            Some(FlowTarget::Request(index)) => self.request_arrives(net, now, index, segment, &mut inbound.packet),
            Some(FlowTarget::TimeWait(index)) => self.time_wait_arrives(net, now, index, flow, segment, inbound),
            _ => self.unknown_arrives(net, now, flow, segment, inbound, None),
        }
    }

    /// A segment of no known flow: LISTEN (RFC 9293 §3.10.7.2) or CLOSED (§3.10.7.1). `iss` is our first sequence number if it
    /// opens a connection in the place of one in TIME-WAIT.
    fn unknown_arrives(
        &mut self,
        net: &mut Net,
        now: Instant,
        flow: Flow,
        segment: &Segment,
        inbound: &mut Inbound,
        iss: Option<SeqNumber>,
    ) -> Verdict {
        let flags = segment.flags;
        if flags.contains(TcpFlags::RST) {
            return Err(DropReason::NoSocket);
        }
        if let Some(index) = self.find_listener(&flow, inbound) {
            if flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::ACK) {
                if flags.contains(TcpFlags::FIN) {
                    return Err(DropReason::TcpFlags);
                }
                return self.syn_arrives(net, now, index, segment, inbound, iss);
            }
            if !flags.contains(TcpFlags::ACK) {
                // Neither opens anything nor answers.
                return Err(DropReason::TcpFlags);
            }
            if self.is_cookie(net, now, index, &flow, segment) {
                return self.cookie_arrives(net, now, index, flow, segment, &mut inbound.packet);
            }
        } else if !inbound.local {
            // Passing traffic that no transparent socket wants is not ours to reset.
            return Err(DropReason::NoSocket);
        }
        self.reset_unknown(net, now, &flow, segment);
        Err(DropReason::NoSocket)
    }

    /// RFC 9293 §3.10.7.1: a reset that its receiver will accept.
    pub(super) fn reset_unknown(&mut self, net: &mut Net, now: Instant, flow: &Flow, segment: &Segment) {
        let mut cx = Cx { net, now, shared: &mut self.shared };
        if segment.flags.contains(TcpFlags::ACK) {
            send_reset_at(flow, Some(segment.interface), segment.ack, &mut cx);
        } else {
            send_reset(flow, Some(segment.interface), SeqNumber(0), Some(segment.end()), &mut cx);
        }
    }

    fn time_wait_arrives(
        &mut self,
        net: &mut Net,
        now: Instant,
        index: u32,
        flow: Flow,
        segment: &Segment,
        inbound: &mut Inbound,
    ) -> Verdict {
        let Some(entry) = self.time_waits.entries.get_mut(index) else { return Err(DropReason::NoSocket) };
        let answer = match entry.segment_arrives(segment, now) {
            // Nobody takes the new connection: for the old one it is a SYN like any other (RFC 5961 §4.2).
            Answer::Replace(_) if self.find_listener(&flow, inbound).is_none() => Answer::Ack,
            answer => answer,
        };
        let Some(entry) = self.time_waits.entries.get(index) else { return Err(DropReason::NoSocket) };
        match answer {
            Answer::Nothing => Err(DropReason::TcpTimeWait),
            Answer::Remove => {
                self.drop_time_wait(index);
                Ok(())
            }
            Answer::Ack => {
                let header = Header {
                    flow: &entry.flow,
                    seq: entry.snd_nxt,
                    ack: entry.rcv_nxt,
                    flags: TcpFlags::ACK,
                    window: entry.window,
                    timestamps: entry
                        .timestamps
                        .then(|| ((now.as_millis() as u32).wrapping_add(entry.ts_offset), entry.ts_recent)),
                    sack: None,
                };
                let mut packet = Packet::new();
                write_header(&mut packet, &header, pseudo(&entry.flow));
                net.counters.count(Counter::TcpOutSegs);
                let _ = net.send_ip(now, &entry.meta, packet);
                Err(DropReason::TcpTimeWait)
            }
            Answer::Replace(beyond) => {
                self.drop_time_wait(index);
                self.unknown_arrives(net, now, flow, segment, inbound, Some(beyond))
            }
        }
    }
}

/// Sends <SEQ=seq><CTL=RST>. `interface`: by which the peer was heard.
pub(super) fn send_reset_at(flow: &Flow, interface: Option<InterfaceId>, seq: SeqNumber, cx: &mut Cx<'_>) {
    send_reset(flow, interface, seq, None, cx);
}

/// Sends <SEQ=seq><ACK=ack><CTL=RST,ACK>, or without the acknowledgement.
pub(super) fn send_reset(
    flow: &Flow,
    interface: Option<InterfaceId>,
    seq: SeqNumber,
    ack: Option<SeqNumber>,
    cx: &mut Cx<'_>,
) {
    cx.net.counters.count(Counter::TcpOutRsts);
    cx.net.counters.count(Counter::TcpOutSegs);
    let header = Header {
        flow,
        seq,
        ack: ack.unwrap_or_default(),
        flags: if ack.is_some() { TcpFlags::RST | TcpFlags::ACK } else { TcpFlags::RST },
        window: 0,
        timestamps: None,
        sack: None,
    };
    let mut packet = Packet::new();
    write_header(&mut packet, &header, pseudo(flow));
    let (source, destination, protocol) = (flow.local.address, flow.remote.address, Protocol::TCP.0);
    let interface = interface.and_then(|interface| cx.net.scope_of(destination, interface));
    let meta = IpMeta {
        flow_label: cx.net.flow_label(source, destination, protocol, (flow.local.port, flow.remote.port)),
        dont_fragment: true,
        interface,
        ..IpMeta::new(source, destination, protocol, cx.net.default_hops(destination, interface))
    };
    let _ = cx.net.send_ip(cx.now, &meta, packet);
}
