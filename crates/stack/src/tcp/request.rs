//! Half-open connections of listeners: SYN-RECEIVED as a compact entry (RFC 9293 §3.10.7.2, RFC 4987 §3.5).

use wireway_packet::{Instant, Packet};
use wireway_wire::{SeqNumber, Sum, TcpFlags, TcpOptions};

use super::challenge::may_answer;
use super::connection::{Connection, Owner};
use super::flow::{Flow, FlowTarget};
use super::header::{Header, write_header_with};
use super::input::{Segment, Verdict};
use super::isn::Numbers;
use super::listen::Listener;
use super::open::PeerOptions;
use super::rto::{RTO_INITIAL, Timing};
use super::shared::{Claim, Common, Cx, meta};
use super::state::State;
use super::window::{initial_window, shift_for};
use super::{REQUEST, Socket, Tcp, syn_cookie};
use crate::net::{Inbound, IpMeta, Net};
use crate::socket::SocketFamily;
use crate::socket::port::Binding;
use crate::timer::{Timer, TimerKey};
use crate::{Counter, DropReason, InterfaceId, SocketId};

/// A half-open connection.
pub(crate) struct Request {
    pub flow: Flow,
    pub listener: SocketId,
    numbers: Numbers,
    irs: SeqNumber,
    peer: PeerOptions,
    window: u16,
    rcv_shift: u8,
    retries: u8,
    /// The SYN-ACK was sent more than once: which of them is acknowledged cannot be told (Karn).
    repeated: bool,
    advertised_mss: u16,
    /// When the SYN-ACK was first sent.
    sent: Instant,
    /// When a repeated SYN or an unacceptable segment was last answered.
    answered: Instant,
    meta: IpMeta,
    pub timer: Timer,
}

impl Request {
    /// Answers a SYN for `listener`.
    fn new(
        listener: &Listener,
        flow: Flow,
        irs: SeqNumber,
        syn: &TcpOptions,
        interface: InterfaceId,
        cx: &mut Cx<'_>,
    ) -> Result<Request, DropReason> {
        let options = &listener.common.options;
        let settings = &cx.net.settings;
        let mut peer = PeerOptions::new(syn, &flow);
        peer.sack &= settings.tcp_sack;
        peer.window_scale = peer.window_scale.filter(|_| settings.tcp_window_scaling);
        peer.timestamp = peer.timestamp.filter(|_| settings.tcp_timestamps);
        let largest = if listener.common.receive_buffer_locked { options.receive_buffer } else { settings.tcp_rmem.2 };
        let rcv_shift = if peer.window_scale.is_some() { shift_for(largest) } else { 0 };
        let interface = options.bind_to_device.or(cx.net.scope_of(flow.remote.address, interface));
        let meta = meta(&flow, options, interface, cx.net);
        let route = cx.net.route(flow.remote.address, meta.interface).map_err(|_| DropReason::IpOutNoRoutes)?;
        let advertised_mss = super::path_mtu::advertised_mss(&flow, route.interface_mtu, options.max_segment);
        let room = u32::from(advertised_mss) - if peer.timestamp.is_some() { 12 } else { 0 };
        let clamp = match options.window_clamp {
            0 => u32::MAX,
            clamp => clamp,
        };
        let window = initial_window(options.receive_buffer, room).min(clamp) as u16;
        Ok(Request {
            flow,
            listener: listener.common.id,
            numbers: cx.shared.secrets.numbers(&flow, cx.now),
            irs,
            peer,
            window,
            rcv_shift,
            retries: 0,
            repeated: false,
            advertised_mss,
            sent: cx.now,
            answered: Instant::ZERO,
            meta,
            timer: Timer::default(),
        })
    }

    fn timestamp(&self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.numbers.ts_offset)
    }

    fn pseudo(&self) -> Sum {
        super::header::pseudo(&self.flow)
    }

    fn send_syn_ack(&self, timestamp: u32, cx: &mut Cx<'_>) {
        let options = TcpOptions {
            mss: Some(self.advertised_mss),
            window_scale: self.peer.window_scale.map(|_| self.rcv_shift),
            sack_permitted: self.peer.sack,
            timestamps: self.peer.timestamp.map(|theirs| (timestamp, theirs)),
            ..TcpOptions::default()
        };
        let header = Header {
            flow: &self.flow,
            seq: self.numbers.iss,
            ack: self.irs + 1,
            flags: TcpFlags::SYN | TcpFlags::ACK,
            window: self.window,
            timestamps: None,
            sack: None,
        };
        let mut packet = Packet::new();
        write_header_with(&mut packet, &header, &options, self.pseudo());
        cx.net.counters.count(Counter::TcpOutSegs);
        // What is dropped here is repeated by the timer, or by the peer.
        let _ = cx.net.send_ip(cx.now, &self.meta, packet);
    }

    /// Sends the SYN-ACK again: its timer ran out, or the peer repeated its SYN.
    fn repeat_syn_ack(&mut self, cx: &mut Cx<'_>) {
        self.repeated = true;
        cx.net.counters.count(Counter::TcpRetransSegs);
        cx.net.counters.count(Counter::TcpExtTcpSynRetrans);
        self.send_syn_ack(self.timestamp(cx.now), cx);
    }

    /// An acknowledgement without data: the peer's own is out of order or repeated.
    fn send_ack(&self, cx: &mut Cx<'_>) {
        let header = Header {
            flow: &self.flow,
            seq: self.numbers.iss + 1,
            ack: self.irs + 1,
            flags: TcpFlags::ACK,
            window: self.window >> self.rcv_shift,
            timestamps: self.peer.timestamp.map(|theirs| (self.timestamp(cx.now), theirs)),
            sack: None,
        };
        let mut packet = Packet::new();
        super::header::write_header(&mut packet, &header, self.pseudo());
        let _ = cx.net.send_ip(cx.now, &self.meta, packet);
    }

    /// Makes a connection of the request, as it is before its acknowledgement is looked at.
    fn to_connection(&self, listener: &Listener, id: SocketId, cx: &mut Cx<'_>) -> Box<Connection> {
        let mut connection = child(listener, id, self, cx);
        connection.snd_nxt = self.numbers.iss + 1;
        connection.snd_max = self.numbers.iss + 1;
        connection.timestamps = true;
        connection.sack = true;
        connection.window_scaling = true;
        connection.rcv_shift = self.rcv_shift;
        connection.advertised_mss = self.advertised_mss;
        connection.refresh_path_mtu(cx);
        connection.take_irs(self.irs);
        connection.take_options(&self.peer, cx);
        connection.last_ack_sent = connection.rcv_nxt;
        connection.rcv_adv = connection.rcv_nxt + u32::from(self.window);
        connection.retries = self.retries;
        connection.timing = (!self.repeated).then_some(Timing { until: connection.snd_nxt, since: self.sent });
        connection.state = State::SynReceived;
        connection
    }
}

/// A connection of a listener, with its options.
fn child(listener: &Listener, id: SocketId, request: &Request, cx: &mut Cx<'_>) -> Box<Connection> {
    let common = Common {
        id,
        domain: listener.common.domain,
        // To a link-local peer it is bound to the link, as on Linux.
        options: crate::SocketOptions {
            hold_incoming: false,
            bind_to_device: request.meta.interface,
            ..listener.common.options
        },
        error: None,
        dirty: Default::default(),
        receive_buffer_locked: listener.common.receive_buffer_locked,
        send_buffer_locked: listener.common.send_buffer_locked,
    };
    Connection::new(common, request.flow, Owner::Listener(listener.common.id), request.numbers, cx)
}

impl Tcp {
    /// A SYN for a listener.
    pub(super) fn syn_arrives(
        &mut self,
        net: &mut Net,
        now: Instant,
        index: u32,
        segment: &Segment,
        inbound: &mut Inbound,
        iss: Option<SeqNumber>,
    ) -> Verdict {
        let flow = segment.flow(inbound);
        let Tcp { sockets, shared, .. } = self;
        let Some(Socket::Listener(listener)) = sockets.get_mut(index) else { return Err(DropReason::NoSocket) };
        let mut cx = Cx { net, now, shared };
        if listener.is_full() {
            cx.net.counters.count(Counter::TcpExtListenOverflows);
            cx.net.counters.count(Counter::TcpExtListenDrops);
            return Err(DropReason::TcpListenOverflow);
        }
        let options = segment.options.copied().unwrap_or_default();
        let mut request = Request::new(listener, flow, segment.seq, &options, inbound.interface, &mut cx)?;
        request.numbers.iss = iss.unwrap_or(request.numbers.iss);
        if listener.common.options.hold_incoming {
            return self.hold(net, now, index, &request, inbound);
        }
        if listener.has_too_many_requests(cx.net.settings.tcp_max_syn_backlog) {
            if !cx.net.settings.tcp_syncookies {
                cx.net.counters.count(Counter::TcpExtTcpReqQFullDrop);
                return Err(DropReason::TcpSynQueueFull);
            }
            cx.net.counters.count(Counter::TcpExtTcpReqQFullDoCookies);
            cx.net.counters.count(Counter::TcpExtSyncookiesSent);
            listener.last_cookie = Some(now);
            let iss = self.cookies.make(&flow, request.irs, request.peer.mss, now);
            let timestamp = syn_cookie::encode_timestamp(request.timestamp(now), &request.peer);
            request.numbers.iss = iss;
            request.send_syn_ack(timestamp, &mut cx);
            return Ok(());
        }
        listener.requests += 1;
        request.send_syn_ack(request.timestamp(now), &mut cx);
        let mut key = (0, 0);
        let at = self.requests.insert_with(|index, generation| {
            key = (index, generation);
            request
        });
        self.flows.insert(flow, FlowTarget::Request(at));
        if let Some(request) = self.requests.get_mut(at) {
            let key = TimerKey::Tcp { index: REQUEST | key.0, generation: key.1 };
            net.timers.arm(&mut request.timer, now + RTO_INITIAL, key);
        }
        Ok(())
    }

    /// A SYN for a listener that holds: a connection that waits for a decision.
    fn hold(&mut self, net: &mut Net, now: Instant, index: u32, request: &Request, inbound: &mut Inbound) -> Verdict {
        if self.shared.held >= net.settings.tcp_max_syn_backlog {
            net.counters.count(Counter::TcpExtTcpReqQFullDrop);
            return Err(DropReason::TcpSynQueueFull);
        }
        let Some(Socket::Listener(listener)) = self.sockets.get(index) else { return Err(DropReason::NoSocket) };
        let id = listener.common.id;
        let connection = self.insert_connection(net, now, id, request)?;
        if let Some(Socket::Connection(connection)) = self.sockets.get_mut(connection.index) {
            connection.state = State::Held;
            connection.snd_nxt = connection.iss;
            connection.snd_max = connection.iss;
            connection.timing = None;
            // Of the SYN itself nothing is quoted but what the connection knows: data with it would only be held as long.
            connection.quote = Some(Box::new(Inbound { packet: Packet::new(), ..inbound.take() }));
            self.shared.held += 1;
        }
        self.enqueue(net, id, connection);
        Ok(())
    }

    /// A segment for a half-open connection.
    pub(super) fn request_arrives(
        &mut self,
        net: &mut Net,
        now: Instant,
        at: u32,
        segment: &Segment,
        packet: &mut Packet,
    ) -> Verdict {
        let Tcp { requests, shared, .. } = self;
        let Some(request) = requests.get_mut(at) else { return Err(DropReason::NoSocket) };
        let mut cx = Cx { net, now, shared };
        let flags = segment.flags;
        let acceptable =
            segment.seq.in_window(request.irs + 1, u32::from(request.window)) || segment.seq == request.irs + 1;
        let old = match (segment.timestamps, request.peer.timestamp) {
            (Some((value, _)), Some(first)) => (value.wrapping_sub(first) as i32) < 0,
            _ => false,
        };
        if flags & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == TcpFlags::SYN && segment.seq == request.irs {
            // The peer has not seen our answer.
            if may_answer(&mut request.answered, &mut cx) {
                request.repeat_syn_ack(&mut cx);
            }
            return Ok(());
        }
        if !acceptable || old {
            if !flags.contains(TcpFlags::RST) && (segment.has_text() || may_answer(&mut request.answered, &mut cx)) {
                request.send_ack(&mut cx);
            }
            return Err(if old { DropReason::TcpRfc7323Paws } else { DropReason::TcpInvalidSequence });
        }
        if flags.contains(TcpFlags::RST) {
            // RFC 5961 §3.2 for the half-open: only the exact one.
            if segment.seq == request.irs + 1 {
                cx.net.counters.count(Counter::TcpAttemptFails);
                cx.net.counters.count(Counter::TcpExtEmbryonicRsts);
                self.drop_request(net, at);
                return Ok(());
            }
            if may_answer(&mut request.answered, &mut cx) {
                request.send_ack(&mut cx);
            }
            return Err(DropReason::TcpInvalidSequence);
        }
        if flags.contains(TcpFlags::SYN) {
            // The peer began anew: back to LISTEN (RFC 9293 §3.10.7.4, fourth), and as Linux tell it, so that it need not wait.
            cx.net.counters.count(Counter::TcpAttemptFails);
            cx.net.counters.count(Counter::TcpExtEmbryonicRsts);
            let flow = request.flow;
            self.drop_request(net, at);
            self.reset_unknown(net, now, &flow, segment);
            return Err(DropReason::TcpInvalidSyn);
        }
        if !flags.contains(TcpFlags::ACK) {
            return Err(DropReason::TcpFlags);
        }
        if request.peer.timestamp.is_some() && segment.timestamps.is_none() {
            // RFC 7323 §3.2
            return Err(DropReason::TcpNoTimestamp);
        }
        if segment.ack != request.numbers.iss + 1 {
            // RFC 9293 §3.10.7.4: <SEQ=SEG.ACK><CTL=RST>.
            let flow = request.flow;
            super::demux::send_reset_at(&flow, Some(segment.interface), segment.ack, &mut cx);
            return Err(DropReason::TcpInvalidAckSequence);
        }
        let id = request.listener;
        let Some(Socket::Listener(listener)) = self.sockets.get_exact_mut(id.index, id.generation) else {
            // The listener went away meanwhile.
            super::demux::send_reset_at(&request.flow, request.meta.interface, segment.ack, &mut cx);
            self.drop_request(net, at);
            return Err(DropReason::NoSocket);
        };
        if listener.is_full() {
            cx.net.counters.count(Counter::TcpExtListenOverflows);
            return Err(DropReason::TcpListenOverflow);
        }
        // TCP_DEFER_ACCEPT: the connection counts from its first data on.
        let patience = listener.common.options.defer_accept;
        if patience > 0 && segment.len == 0 && !segment.is_fin() && now.since(request.sent).as_secs() < patience.into()
        {
            cx.net.counters.count(Counter::TcpExtTcpDeferAcceptDrop);
            return Err(DropReason::TcpDeferAccept);
        }
        let Some(request) = self.take_request(net, at) else { return Err(DropReason::NoSocket) };
        self.admit_request(net, now, &request, segment, packet)
    }

    /// Whether an acknowledgement of no known flow is for a cookie of this listener.
    pub(super) fn is_cookie(&self, net: &mut Net, now: Instant, index: u32, flow: &Flow, segment: &Segment) -> bool {
        let Some(Socket::Listener(listener)) = self.sockets.get(index) else { return false };
        let plain = segment.flags.contains(TcpFlags::ACK) && !segment.flags.intersects(TcpFlags::SYN | TcpFlags::RST);
        let recent = listener.last_cookie.is_some_and(|at| now.since(at) <= syn_cookie::VALIDITY);
        if !plain || !recent {
            return false;
        }
        let valid = self.cookies.check(flow, segment.seq - 1, segment.ack - 1, now).is_some();
        if !valid {
            net.counters.count(Counter::TcpExtSyncookiesFailed);
        }
        valid
    }

    /// An acknowledgement for which [`is_cookie`](Self::is_cookie) is true.
    pub(super) fn cookie_arrives(
        &mut self,
        net: &mut Net,
        now: Instant,
        index: u32,
        flow: Flow,
        segment: &Segment,
        packet: &mut Packet,
    ) -> Verdict {
        let Tcp { sockets, shared, cookies, .. } = self;
        let Some(Socket::Listener(listener)) = sockets.get_mut(index) else { return Err(DropReason::NoSocket) };
        let mut cx = Cx { net, now, shared };
        if listener.is_full() {
            cx.net.counters.count(Counter::TcpExtListenOverflows);
            return Err(DropReason::TcpListenOverflow);
        }
        cx.net.counters.count(Counter::TcpExtSyncookiesRecv);
        let (window_scale, sack_permitted) =
            segment.timestamps.map_or((None, false), |(_, echo)| syn_cookie::decode_timestamp(echo));
        let options = TcpOptions {
            mss: cookies.check(&flow, segment.seq - 1, segment.ack - 1, now),
            window_scale,
            sack_permitted,
            timestamps: segment.timestamps,
            ..TcpOptions::default()
        };
        let mut request = Request::new(listener, flow, segment.seq - 1, &options, segment.interface, &mut cx)?;
        // When the SYN-ACK was sent is forgotten: no round trip can be measured, as if it had been repeated.
        request.numbers.iss = segment.ack - 1;
        request.retries = 1;
        request.repeated = true;
        self.admit_request(net, now, &request, segment, packet)
    }

    /// The handshake is complete: makes the connection, and hands it the segment that completed it.
    fn admit_request(
        &mut self,
        net: &mut Net,
        now: Instant,
        request: &Request,
        segment: &Segment,
        packet: &mut Packet,
    ) -> Verdict {
        let listener = request.listener;
        let id = self.insert_connection(net, now, listener, request)?;
        net.counters.count(Counter::TcpPassiveOpens);
        let verdict = self.with_connection(net, now, id.index, |c, cx| c.segment_arrives(segment, packet, cx));
        self.enqueue(net, listener, id);
        self.settle(net, now, id.index);
        verdict.unwrap_or(Err(DropReason::NoSocket))
    }

    /// Makes a connection of a request and puts it into the tables.
    fn insert_connection(
        &mut self,
        net: &mut Net,
        now: Instant,
        listener: SocketId,
        request: &Request,
    ) -> Result<SocketId, DropReason> {
        let Tcp { sockets, shared, .. } = self;
        let claim = {
            let Some(Socket::Listener(listener)) = sockets.get_exact(listener.index, listener.generation) else {
                return Err(DropReason::NoSocket);
            };
            // A listener for any port stands for foreign addresses: its connections use no port of ours.
            listener.claim.map(|claim| Claim {
                port: request.flow.local.port,
                binding: Binding { address: request.flow.local.address, listening: false, ..claim.binding },
            })
        };
        let family = SocketFamily::Tcp;
        let mut id = SocketId { family, index: 0, generation: 0 };
        // The place is taken first, for the connection is to know its id.
        let index = sockets.insert_with(|index, generation| {
            id = SocketId { family, index, generation };
            Socket::Reserved
        });
        let Some(Socket::Listener(parent)) = sockets.get_exact(listener.index, listener.generation) else {
            return Err(DropReason::NoSocket);
        };
        let mut cx = Cx { net, now, shared };
        let mut connection = request.to_connection(parent, id, &mut cx);
        connection.claim = claim;
        if let Some(place) = sockets.get_mut(index) {
            *place = Socket::Connection(connection);
        }
        if let Some(claim) = claim {
            self.ports.acquire(claim.port, claim.binding);
        }
        self.flows.insert(request.flow, FlowTarget::Connection(index));
        Ok(id)
    }

    /// The SYN-ACK was not acknowledged in time.
    pub(super) fn on_request_timer(&mut self, net: &mut Net, now: Instant, at: u32, generation: u32) {
        let retries = net.settings.tcp_synack_retries;
        let Tcp { requests, shared, sockets, .. } = self;
        let Some(request) = requests.get_exact_mut(at, generation) else { return };
        let id = request.listener;
        let orphan = !matches!(sockets.get_exact(id.index, id.generation), Some(Socket::Listener(_)));
        if orphan || request.retries >= retries {
            net.counters.count(Counter::TcpAttemptFails);
            return self.drop_request(net, at);
        }
        request.retries += 1;
        request.repeat_syn_ack(&mut Cx { net, now, shared });
        let wait = RTO_INITIAL * (1 << request.retries.min(16));
        net.timers.arm(&mut request.timer, now + wait, TimerKey::Tcp { index: REQUEST | at, generation });
    }

    fn take_request(&mut self, net: &mut Net, at: u32) -> Option<Request> {
        let mut request = self.requests.remove(at)?;
        net.timers.cancel(&mut request.timer);
        self.flows.remove(&request.flow, FlowTarget::Request(at));
        if let Some(listener) = self.listener_exact(request.listener) {
            listener.requests = listener.requests.saturating_sub(1);
        }
        Some(request)
    }

    /// Forgets a half-open connection.
    pub(super) fn drop_request(&mut self, net: &mut Net, at: u32) {
        self.take_request(net, at);
    }
}
