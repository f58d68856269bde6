//! ICMP out, of both families: echo replies, and errors about packets that were received or could not be sent (RFC 792, RFC 1122 §3.2.2, RFC 1812
//! §4.3; RFC 4443).

use core::net::IpAddr;

use wireway_packet::{Checksum, Instant, Offload, Packet};
use wireway_wire::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, Ipv4Header, Ipv4View, Ipv6Chain, Ipv6Header, Protocol,
    QuotedV6, Sum, checksum, icmpv4, icmpv6,
};

use super::header::IpFields;
use super::ipv6::MIN_MTU;
use super::{IcmpError, IcmpErrorKind, Inbound, IpHeader, IpMeta, Net, RouteKind};
use crate::counters::{Counter, DropReason};
use crate::{Error, InterfaceId, RelayedError, Unreachable};

/// Bytes of a datagram that an error quotes: as much as fits 576 bytes (RFC 1812 §4.3.2.3), of IPv6 the least MTU (RFC 4443 §2.4 (c)).
const QUOTE_V4: usize = 576 - Ipv4Header::LEN - Icmpv4Header::LEN;
const QUOTE_V6: usize = MIN_MTU as usize - Ipv6Header::LEN - Icmpv6Header::LEN;

/// An ICMP message that concerns a socket.
pub(crate) enum IcmpInbound {
    /// For ping sockets. The packet begins with the ICMP header.
    EchoReply(Inbound),
    /// For the sender of the packet that it quotes.
    Error(QuotedError),
}

/// An ICMP error with what it quotes.
pub(crate) struct QuotedError {
    pub(super) kind: IcmpErrorKind,
    pub(super) error: Error,
    pub(super) fatal: bool,
    pub(super) icmp: (u8, u8),
    pub(super) from: IpAddr,
    pub(super) ttl: u8,
    pub(super) interface: InterfaceId,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) quoted: Vec<u8>,
}

impl QuotedError {
    pub fn get(&self) -> IcmpError<'_> {
        IcmpError {
            kind: self.kind,
            error: self.error,
            fatal: self.fatal,
            icmp: self.icmp,
            from: self.from,
            ttl: self.ttl,
            interface: self.interface,
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            quoted: &self.quoted,
        }
    }
}

/// What an echo reply takes over of the request's header.
pub(super) struct Echo {
    pub checksum: u16,
    pub code: u8,
}

/// What the sender of a packet is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    Unreachable(Unreachable),
    /// No protocol takes it. ICMPv6 has a parameter problem for it, which points at the field that names the protocol.
    Protocol {
        pointer: u32,
    },
    /// Not all fragments came in time.
    Reassembly,
    /// A header or an option is wrong.
    Parameter {
        code: u8,
        pointer: u32,
    },
    /// Another host said it.
    Relayed(RelayedError),
}

/// An ICMP error's first bytes; both families have the same.
struct Message {
    kind: u8,
    code: u8,
    rest: [u8; 4],
    /// It may come from the address that the packet was for though that is not ours: the host there would say so.
    as_host: bool,
    /// Whose error it is, if not ours.
    from: Option<IpAddr>,
    counter: Counter,
}

impl Complaint {
    fn v4(self) -> Message {
        let message = |kind: Icmpv4Type, code, counter| Message {
            kind: kind.0,
            code,
            rest: [0; 4],
            as_host: false,
            from: None,
            counter,
        };
        let unreachable = |code| Message {
            as_host: matches!(code, icmpv4::unreachable::PORT | icmpv4::unreachable::PROTOCOL),
            ..message(Icmpv4Type::DESTINATION_UNREACHABLE, code, Counter::IcmpOutDestUnreachs)
        };
        match self {
            Complaint::Unreachable(why) => unreachable(why.code_v4()),
            Complaint::Protocol { .. } => unreachable(icmpv4::unreachable::PROTOCOL),
            Complaint::Reassembly => {
                let code = icmpv4::time_exceeded::REASSEMBLY;
                message(Icmpv4Type::TIME_EXCEEDED, code, Counter::IcmpOutTimeExcds)
            }
            Complaint::Parameter { code, pointer } => Message {
                rest: [pointer as u8, 0, 0, 0],
                ..message(Icmpv4Type::PARAMETER_PROBLEM, code, Counter::IcmpOutParmProbs)
            },
            Complaint::Relayed(error) => {
                let counter = match Icmpv4Type(error.kind) {
                    Icmpv4Type::TIME_EXCEEDED => Counter::IcmpOutTimeExcds,
                    Icmpv4Type::PARAMETER_PROBLEM => Counter::IcmpOutParmProbs,
                    _ => Counter::IcmpOutDestUnreachs,
                };
                Message { from: error.from, ..message(Icmpv4Type(error.kind), error.code, counter) }
            }
        }
    }

    fn v6(self) -> Message {
        let message = |kind: Icmpv6Type, code, counter| Message {
            kind: kind.0,
            code,
            rest: [0; 4],
            as_host: false,
            from: None,
            counter,
        };
        let unreachable = |code| Message {
            as_host: code == icmpv6::unreachable::PORT,
            ..message(Icmpv6Type::DESTINATION_UNREACHABLE, code, Counter::Icmp6OutDestUnreachs)
        };
        let parameter = |code, pointer: u32| Message {
            rest: pointer.to_be_bytes(),
            ..message(Icmpv6Type::PARAMETER_PROBLEM, code, Counter::Icmp6OutParmProblems)
        };
        match self {
            Complaint::Unreachable(why) => unreachable(why.code_v6()),
            Complaint::Protocol { pointer } => parameter(icmpv6::parameter_problem::NEXT_HEADER, pointer),
            Complaint::Reassembly => {
                let code = icmpv6::time_exceeded::REASSEMBLY;
                message(Icmpv6Type::TIME_EXCEEDED, code, Counter::Icmp6OutTimeExcds)
            }
            Complaint::Parameter { code, pointer } => parameter(code, pointer),
            Complaint::Relayed(error) => {
                let counter = match Icmpv6Type(error.kind) {
                    Icmpv6Type::TIME_EXCEEDED => Counter::Icmp6OutTimeExcds,
                    Icmpv6Type::PARAMETER_PROBLEM => Counter::Icmp6OutParmProblems,
                    _ => Counter::Icmp6OutDestUnreachs,
                };
                Message { from: error.from, ..message(Icmpv6Type(error.kind), error.code, counter) }
            }
        }
    }
}

impl Inbound {
    /// The packet as an ICMP error about it quotes it, for [`Net::complain`]; `None` if it was sent to a group (RFC 1122
    /// §3.2.2, RFC 4443 §2.4 (e)).
    pub fn into_quote(self) -> Option<Packet> {
        if self.broadcast { None } else { Some(self.into_quote_of_any()) }
    }

    /// As [`into_quote`](Self::into_quote), of a packet to a group too.
    pub(super) fn into_quote_of_any(self) -> Packet {
        let mut packet = self.packet;
        packet.truncate(QUOTE_V6);
        *packet.offload_mut() = Offload::default();
        if let Some(options) = self.options {
            let payload = core::mem::replace(&mut packet, Packet::copy_from(&options));
            packet.chain_packet(payload);
        }
        let header = self.header.as_bytes();
        packet.prepend(header.len()).copy_from_slice(header);
        packet
    }

    /// Where the field stands that names the transport, from the IP header's first byte.
    fn protocol_pointer(&self) -> u32 {
        match (&self.header, &self.options) {
            (IpHeader::V4(_), _) => 9,
            (IpHeader::V6(header), options) => {
                let options = options.as_deref().unwrap_or_default();
                Ipv6Chain::parse(header.next_header, options).map_or(0, |chain| chain.pointer as u32)
            }
        }
    }
}

impl Net {
    /// Answers an echo request (RFC 1122 §3.2.2.6, RFC 4443 §4.2). The data go back as they came, without a copy; long ones in
    /// fragments.
    pub(super) fn send_echo_reply(&mut self, now: Instant, request: Echo, inbound: Inbound) {
        let v6 = inbound.header.is_v6();
        let local = self.is_local_at(inbound.destination(), Some(inbound.interface));
        let constraint = self.scope_of(inbound.source(), inbound.interface);
        let source = match inbound.broadcast || !local && inbound.interface != InterfaceId::LOOPBACK {
            false => inbound.destination(),
            true => match self.route(inbound.source(), constraint) {
                Ok(route) => route.source,
                Err(_) => return self.drop_packet(DropReason::IpOutNoRoutes, inbound.packet),
            },
        };
        let (request_kind, reply_kind) = match v6 {
            true => (Icmpv6Type::ECHO_REQUEST.0, Icmpv6Type::ECHO_REPLY.0),
            false => (Icmpv4Type::ECHO_REQUEST.0, Icmpv4Type::ECHO_REPLY.0),
        };
        if !self.icmp_allowed(now, reply_kind, inbound.source()) {
            return self.drop_packet(DropReason::IcmpRateLimited, inbound.packet);
        }
        let protocol = if v6 { Protocol::ICMPV6 } else { Protocol::ICMP };
        let mut meta =
            IpMeta::new(source, inbound.source(), protocol.0, self.default_hops(inbound.source(), constraint));
        meta.tos = inbound.tos;
        meta.interface = constraint;
        let mut packet = inbound.packet;
        let complete = packet.offload().checksum == Checksum::Complete;
        *packet.offload_mut() = Offload::default();
        let word = |kind: u8| u16::from_be_bytes([kind, request.code]);
        let checksum = checksum::update(request.checksum, word(request_kind), word(reply_kind));
        let pseudo = pseudo(&meta, packet.len());
        if let Some([kind, _, high, low, ..]) = packet.pullup(Icmpv4Header::LEN) {
            // Where all else is zero, as in an empty reply with identifier 0, only the other zero is right.
            let checksum = if checksum == 0 { 0xffff } else { checksum };
            *kind = reply_kind;
            [*high, *low] = checksum.to_be_bytes();
        }
        // What stood there is not, or need not be, the checksum of the whole, or the pseudo header is another.
        if !complete || (v6 && source != inbound.header.destination()) {
            fill_checksum(&mut packet, pseudo);
        }
        self.counters.count(Counter::IcmpOutMsgs.of_family(v6));
        self.counters.count(Counter::IcmpOutEchoReps.of_family(v6));
        // What cannot be sent was counted.
        let _ = self.send_ip(now, &meta, packet);
    }

    /// Whether the rate limits let an ICMP message pass. Nothing limits what stays on `lo`.
    fn icmp_allowed(&mut self, now: Instant, kind: u8, destination: IpAddr) -> bool {
        let limited = match destination {
            IpAddr::V4(_) => self.settings.icmp_ratemask.checked_shr(kind.into()).unwrap_or(0) & 1 == 1,
            IpAddr::V6(_) => self.settings.icmpv6_ratemask.checked_shr(kind.into()).unwrap_or(0) & 1 == 1,
        };
        !limited
            || self.is_local(destination)
            || self.icmp_limits.allow(now, &self.settings, &mut self.counters, destination)
    }

    /// Sends an ICMP error about the packet in `quote` (see [`Inbound::into_quote`]), if one may be sent about it and the rate
    /// limits allow. `interface`: by which it came in, which tells link-local addresses apart.
    pub fn complain(&mut self, now: Instant, interface: InterfaceId, quote: Packet, complaint: Complaint) {
        let v6 = quote.parts().next().and_then(|part| part.first()).is_some_and(|byte| byte >> 4 == 6);
        let (message, about) = match v6 {
            true => (complaint.v6(), self.check_quote_v6(&quote, complaint)),
            false => (complaint.v4(), self.check_quote_v4(&quote)),
        };
        if let Some(about) = about {
            self.send_error(now, interface, v6, quote, message, about);
        }
    }

    /// `about`: source, destination and type of service of the packet in `quote`.
    fn send_error(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        v6: bool,
        mut quote: Packet,
        message: Message,
        about: (IpAddr, IpAddr, u8),
    ) {
        let (about_source, about_destination, tos) = about;
        let constraint = self.scope_of(about_source, interface);
        let Ok(route) = self.route(about_source, constraint) else { return };
        // From the address that the packet was for, if it is ours; or if nobody else would say this (as the host there).
        let ours = self.is_local(about_destination);
        let source = match ours || message.as_host {
            true if route.kind != RouteKind::Local || ours => about_destination,
            _ => route.source,
        };
        let source = message.from.filter(|from| from.is_ipv6() == v6).unwrap_or(source);
        if !self.icmp_allowed(now, message.kind, about_source) {
            return;
        }
        quote.truncate(if v6 { QUOTE_V6 } else { QUOTE_V4 });
        *quote.offload_mut() = Offload::default();
        let protocol = if v6 { Protocol::ICMPV6 } else { Protocol::ICMP };
        let mut meta = IpMeta::new(source, about_source, protocol.0, self.default_hops(about_source, constraint));
        // RFC 1812 §4.3.2.5: errors have precedence 6.
        meta.tos = if v6 { 0 } else { tos & 0x1e | 0xc0 };
        meta.interface = constraint;
        let [a, b, c, d] = message.rest;
        quote.prepend(Icmpv4Header::LEN).copy_from_slice(&[message.kind, message.code, 0, 0, a, b, c, d]);
        let pseudo = pseudo(&meta, quote.len());
        fill_checksum(&mut quote, pseudo);
        self.counters.count(Counter::IcmpOutMsgs.of_family(v6));
        self.counters.count(message.counter);
        if self.send_ip(now, &meta, quote).is_err() {
            self.counters.count(Counter::IcmpOutErrors.of_family(v6));
        }
    }

    /// The addresses and type of service of a packet that may be the subject of an error (RFC 1122 §3.2.2, RFC 1812 §4.3.2.7): not itself
    /// an error, not to a group, from one host, and no later fragment.
    fn check_quote_v4(&self, quote: &Packet) -> Option<(IpAddr, IpAddr, u8)> {
        let mut bytes = [0; Ipv4Header::MAX_LEN + 1];
        let len = quote.copy_to(0, &mut bytes);
        let head = bytes.get(..len)?;
        let view = Ipv4View::parse_quoted(head).ok()?;
        let (source, destination, tos) = (view.header.src(), view.header.dst(), view.header.tos());
        let is_error = view.header.protocol() == Protocol::ICMP
            && head.get(view.header.header_len()).is_none_or(|&kind| {
                !matches!(
                    Icmpv4Type(kind),
                    Icmpv4Type::ECHO_REQUEST | Icmpv4Type::ECHO_REPLY | Icmpv4Type::TIMESTAMP_REQUEST
                )
            });
        let fragment = view.header.fragment_offset() != 0;
        let from_one = !source.is_unspecified() && !self.is_broadcast(source.into());
        let one = !is_error && !fragment && from_one && !self.is_broadcast(destination.into());
        one.then_some((source.into(), destination.into(), tos))
    }

    /// The same of IPv6 (RFC 4443 §2.4 (e)): not about an error or a redirect, not about what a group was sent but for one kind, and not to
    /// what is no single node.
    fn check_quote_v6(&self, quote: &Packet, complaint: Complaint) -> Option<(IpAddr, IpAddr, u8)> {
        let mut bytes = [0; Ipv6Header::LEN + wireway_wire::ipv6_ext::MAX_CHAIN_LEN + 1];
        let len = quote.copy_to(0, &mut bytes);
        let head = bytes.get(..len)?;
        let ip = Ipv6Header::parse_quoted(head).ok()?;
        let quoted = QuotedV6 { ip, payload: head.get(Ipv6Header::LEN..)? };
        let is_error = match quoted.transport() {
            Ok((chain, rest)) if chain.protocol == Protocol::ICMPV6 && chain.has_transport() => {
                rest.first().is_none_or(|&kind| Icmpv6Type(kind).is_error() || Icmpv6Type(kind) == Icmpv6Type::REDIRECT)
            }
            _ => false,
        };
        let option = icmpv6::parameter_problem::OPTION;
        let to_group =
            ip.dst().is_multicast() && !matches!(complaint, Complaint::Parameter { code, .. } if code == option);
        let from_one = !ip.src().is_unspecified() && !ip.src().is_multicast();
        let tos = ip.traffic_class();
        (!is_error && !to_group && from_one).then_some((ip.src().into(), ip.dst().into(), tos))
    }

    /// A packet of ours that begins with its IP header, as it is quoted; `None` if its source is not ours.
    pub(super) fn quote_own(&self, mut packet: Packet) -> Option<Packet> {
        let version = packet.pullup(1)?.first()? >> 4;
        let source: IpAddr = match version {
            6 => Ipv6Header::parse_quoted(packet.pullup(Ipv6Header::LEN)?).ok()?.src().into(),
            _ => Ipv4View::parse_quoted(packet.pullup(Ipv4Header::LEN)?).ok()?.header.src().into(),
        };
        self.is_local(source).then_some(packet)
    }

    /// Tells the sender of a packet that no protocol here takes it.
    pub fn refuse_protocol(&mut self, now: Instant, inbound: Inbound) {
        self.counters.count(Counter::IpInUnknownProtos.of_family(inbound.header.is_v6()));
        self.counters.drop(DropReason::IpNoProtocol);
        let complaint = Complaint::Protocol { pointer: inbound.protocol_pointer() };
        self.complain_about(now, inbound, complaint);
    }

    /// Tells the sender of a datagram that no socket takes it.
    pub fn refuse_port(&mut self, now: Instant, inbound: Inbound) {
        self.counters.drop(DropReason::NoSocket);
        self.complain_about(now, inbound, Complaint::Unreachable(Unreachable::Port));
    }

    /// Reassembly ran out of time and the first fragment is there.
    pub(super) fn tell_reassembly_timeout(&mut self, now: Instant, first: Inbound) {
        self.complain_about(now, first, Complaint::Reassembly);
    }

    /// A header or an option of IPv6 is wrong; said even of what a group was sent if the code is that of options (RFC 4443 §2.4 (e.3)).
    pub(super) fn tell_parameter_problem(&mut self, now: Instant, inbound: Inbound, code: u8, pointer: usize) {
        let interface = inbound.interface;
        let complaint = Complaint::Parameter { code, pointer: pointer as u32 };
        self.complain(now, interface, inbound.into_quote_of_any(), complaint);
    }

    fn complain_about(&mut self, now: Instant, inbound: Inbound, complaint: Complaint) {
        let interface = inbound.interface;
        if let Some(quote) = inbound.into_quote() {
            self.complain(now, interface, quote, complaint);
        }
    }

    /// A neighbour does not answer: the sender of what waited for it is ourselves.
    pub(super) fn tell_host_unreachable(&mut self, now: Instant, interface: InterfaceId, packet: Packet) {
        if let Some(quote) = self.quote_own(packet) {
            self.complain(now, interface, quote, Complaint::Unreachable(Unreachable::Host));
        }
    }
}

/// The beginning of a packet that was received, as an error quotes it, made again: `head` is what is known of its payload of `len` bytes. `None`
/// where source and destination are not of one family.
pub(crate) fn quote_again(meta: &IpMeta, head: &[u8], len: usize) -> Option<Packet> {
    let mut quote = Packet::copy_from(head);
    IpFields::new(meta)?.prepend_with_len(&mut quote, len);
    Some(quote)
}

/// The sum of the pseudo header that ICMPv6 has and ICMP has not.
pub(super) fn pseudo(meta: &IpMeta, len: usize) -> Sum {
    match (meta.source, meta.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Sum::pseudo_v6(source, destination, Protocol::ICMPV6, len as u32)
        }
        _ => Sum::new(),
    }
}

/// Fills in the checksum of a message.
pub(super) fn fill_checksum(packet: &mut Packet, pseudo: Sum) {
    if let Some([_, _, high, low, ..]) = packet.pullup(Icmpv4Header::LEN) {
        [*high, *low] = [0; 2];
    }
    let checksum = packet.sum(0, pseudo).finish();
    if let Some([_, _, high, low, ..]) = packet.pullup(Icmpv4Header::LEN) {
        [*high, *low] = checksum.to_be_bytes();
    }
}
