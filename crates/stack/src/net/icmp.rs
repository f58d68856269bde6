//! ICMP in and out (RFC 792, RFC 1122 §3.2.2, RFC 1812 §4.3).

use core::net::{IpAddr, Ipv4Addr};

use wireway_packet::{Checksum, HEAD, Instant, Offload, Packet};
use wireway_wire::icmpv4::{time_exceeded, unreachable};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{Icmpv4Header, Icmpv4Type, Ipv4Header, Ipv4View, Protocol, Sum, checksum};

use super::{IcmpError, IcmpErrorKind, Inbound, IpMeta, Net, RouteKind};
use crate::counters::{Counter, DropReason};
use crate::{Error, InterfaceId};

/// Bytes of a datagram that an error quotes: as much as fits 576 bytes (RFC 1812 §4.3.2.3).
pub(super) const QUOTE: usize = 576 - Ipv4Header::LEN - Icmpv4Header::LEN;

/// An ICMP message that concerns a socket.
pub(crate) enum IcmpInbound {
    /// For ping sockets. The packet begins with the ICMP header.
    EchoReply(Inbound),
    /// For the sender of the packet that it quotes.
    Error(QuotedError),
}

/// An ICMP error with what it quotes.
pub(crate) struct QuotedError {
    kind: IcmpErrorKind,
    error: Error,
    fatal: bool,
    icmp: (u8, u8),
    from: IpAddr,
    interface: InterfaceId,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    quoted: Vec<u8>,
}

impl QuotedError {
    pub fn get(&self) -> IcmpError<'_> {
        IcmpError {
            kind: self.kind,
            error: self.error,
            fatal: self.fatal,
            icmp: self.icmp,
            from: self.from,
            interface: self.interface,
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            quoted: &self.quoted,
        }
    }
}

/// What an error means to a socket, and whether it ends the call of a connected datagram socket: Linux's icmp_err_convert.
fn meaning(header: &Icmpv4Header) -> Option<(IcmpErrorKind, Error, bool)> {
    use IcmpErrorKind::*;
    Some(match (header.kind, header.code) {
        (Icmpv4Type::DESTINATION_UNREACHABLE, code) => match code {
            unreachable::NETWORK | unreachable::NETWORK_TOS => (NetUnreachable, Error::NetworkUnreachable, false),
            unreachable::HOST | unreachable::HOST_TOS => (HostUnreachable, Error::HostUnreachable, false),
            unreachable::PROTOCOL => (ProtocolUnreachable, Error::NoProtocolOption, true),
            unreachable::PORT => (PortUnreachable, Error::ConnectionRefused, true),
            unreachable::FRAGMENTATION_NEEDED => (TooBig(header.mtu()), Error::MessageTooLong, false),
            unreachable::SOURCE_ROUTE_FAILED => (SourceRouteFailed, Error::NotSupported, false),
            unreachable::NETWORK_UNKNOWN => (NetUnreachable, Error::NetworkUnreachable, true),
            unreachable::HOST_UNKNOWN => (HostUnreachable, Error::HostDown, true),
            unreachable::HOST_ISOLATED => (HostUnreachable, Error::NoNetwork, true),
            unreachable::NETWORK_PROHIBITED => (Prohibited, Error::NetworkUnreachable, true),
            unreachable::HOST_PROHIBITED
            | unreachable::COMMUNICATION_PROHIBITED
            | unreachable::PRECEDENCE_VIOLATION
            | unreachable::PRECEDENCE_CUTOFF => (Prohibited, Error::HostUnreachable, true),
            _ => return None,
        },
        (Icmpv4Type::TIME_EXCEEDED, _) => (TimeExceeded, Error::HostUnreachable, false),
        (Icmpv4Type::PARAMETER_PROBLEM, _) => (ParameterProblem, Error::Proto, true),
        _ => return None,
    })
}

impl Inbound {
    /// The packet as an ICMP error about it quotes it, for [`Net::send_icmp_error`]; `None` if it was sent to a group (RFC 1122
    /// §3.2.2).
    pub fn into_quote(self) -> Option<Packet> {
        if self.broadcast {
            return None;
        }
        let mut packet = self.packet;
        packet.truncate(QUOTE.saturating_sub(self.header.header_len()));
        *packet.offload_mut() = Offload::default();
        if let Some(options) = self.options {
            packet.prepend(options.len()).copy_from_slice(&options);
        }
        packet.prepend(Ipv4Header::LEN).copy_from_slice(self.header.as_bytes());
        Some(packet)
    }
}

impl Net {
    /// Takes in an ICMP message. What concerns a socket comes back. `copied`: a raw socket got it, so that it is not lost if
    /// the host itself has no use for it.
    pub fn receive_icmp(&mut self, now: Instant, mut inbound: Inbound, copied: bool) -> Option<IcmpInbound> {
        self.counters.count(Counter::IcmpInMsgs);
        let unverified = inbound.packet.offload().checksum == Checksum::Complete;
        if unverified && !inbound.packet.sum(0, Sum::new()).is_valid() {
            self.counters.count(Counter::IcmpInErrors);
            self.counters.count(Counter::IcmpInCsumErrors);
            self.drop_packet(DropReason::IcmpChecksum, inbound.packet);
            return None;
        }
        let head = inbound.packet.pullup(Icmpv4Header::LEN).map(|head| &*head).unwrap_or_default();
        let Ok((header, _)) = Icmpv4Header::parse(head) else { return self.malformed_icmp(inbound) };
        let header = *header;
        match header.kind {
            Icmpv4Type::ECHO_REQUEST => self.counters.count(Counter::IcmpInEchos),
            Icmpv4Type::ECHO_REPLY => self.counters.count(Counter::IcmpInEchoReps),
            Icmpv4Type::DESTINATION_UNREACHABLE => self.counters.count(Counter::IcmpInDestUnreachs),
            Icmpv4Type::TIME_EXCEEDED => self.counters.count(Counter::IcmpInTimeExcds),
            Icmpv4Type::PARAMETER_PROBLEM => self.counters.count(Counter::IcmpInParmProbs),
            Icmpv4Type::SOURCE_QUENCH => self.counters.count(Counter::IcmpInSrcQuenchs),
            Icmpv4Type::REDIRECT => self.counters.count(Counter::IcmpInRedirects),
            _ => {}
        }
        let ignored = match header.kind {
            Icmpv4Type::ECHO_REQUEST if inbound.local => {
                let broadcast = inbound.broadcast && self.settings.icmp_echo_ignore_broadcasts;
                if !broadcast && !self.settings.icmp_echo_ignore_all {
                    self.send_echo_reply(now, header, inbound);
                    return None;
                }
                DropReason::IcmpIgnored
            }
            Icmpv4Type::ECHO_REPLY if inbound.local && !inbound.broadcast => {
                return Some(IcmpInbound::EchoReply(inbound));
            }
            // RFC 6633: source quenches are ignored. Redirects would let a neighbour steer our traffic.
            Icmpv4Type::SOURCE_QUENCH | Icmpv4Type::REDIRECT => DropReason::IcmpIgnored,
            kind if kind.is_error() => return self.receive_icmp_error(inbound, &header),
            _ => DropReason::IcmpUnhandled,
        };
        if !copied {
            self.drop_packet(ignored, inbound.packet);
        }
        None
    }

    fn malformed_icmp(&mut self, inbound: Inbound) -> Option<IcmpInbound> {
        self.counters.count(Counter::IcmpInErrors);
        self.drop_packet(DropReason::IcmpMalformed, inbound.packet);
        None
    }

    fn receive_icmp_error(&mut self, mut inbound: Inbound, header: &Icmpv4Header) -> Option<IcmpInbound> {
        let want = inbound.packet.len().min(HEAD);
        let head = inbound.packet.pullup(want).map(|head| &*head).unwrap_or_default();
        let body = head.get(Icmpv4Header::LEN..).unwrap_or_default();
        let (Ok(quoted), Some((kind, error, fatal))) = (header.quoted(body), meaning(header)) else {
            return self.malformed_icmp(inbound);
        };
        let source = IpAddr::V4(quoted.ip.header.src());
        // A host hears only of what it sent itself, from the address it sent it from (RFC 1122 §3.2.2).
        if source != inbound.destination || inbound.broadcast {
            self.drop_packet(DropReason::IcmpIgnored, inbound.packet);
            return None;
        }
        if quoted.payload.len() < 8 || quoted.ip.header.fragment_offset() != 0 {
            return self.malformed_icmp(inbound);
        }
        Some(IcmpInbound::Error(QuotedError {
            kind,
            error,
            fatal,
            icmp: (header.kind.0, header.code),
            from: inbound.source,
            interface: inbound.interface,
            source,
            destination: quoted.ip.header.dst().into(),
            protocol: quoted.ip.header.protocol().0,
            quoted: quoted.payload.into(),
        }))
    }

    /// Answers an echo request (RFC 1122 §3.2.2.6). The data go back as they came, without a copy; long ones in fragments.
    fn send_echo_reply(&mut self, now: Instant, request: Icmpv4Header, inbound: Inbound) {
        let source = match inbound.broadcast || !self.is_local(inbound.destination) {
            false => inbound.destination,
            true => match self.route(inbound.source, None) {
                Ok(route) => route.source,
                Err(_) => return self.drop_packet(DropReason::IpOutNoRoutes, inbound.packet),
            },
        };
        if !self.icmp_allowed(now, Icmpv4Type::ECHO_REPLY, inbound.source) {
            return self.drop_packet(DropReason::IcmpRateLimited, inbound.packet);
        }
        let word = |kind: Icmpv4Type| u16::from_be_bytes([kind.0, request.code]);
        let mut reply = Icmpv4Header { kind: Icmpv4Type::ECHO_REPLY, ..request };
        let (old, new) = (word(Icmpv4Type::ECHO_REQUEST), word(Icmpv4Type::ECHO_REPLY));
        let mut packet = inbound.packet;
        match checksum::update(request.checksum.get(), old, new) {
            // What stands there is not, or need not be, the checksum of the whole.
            _ if packet.offload().checksum != Checksum::Complete => {
                reply.fill_checksum(packet.sum(Icmpv4Header::LEN, Sum::new()));
            }
            // Where all else is zero, as in an empty reply with identifier 0, only the other zero is right.
            0 => reply.checksum.set(0xffff),
            checksum => reply.checksum.set(checksum),
        }
        if let Some(head) = packet.pullup(Icmpv4Header::LEN) {
            head.copy_from_slice(reply.as_bytes());
        }
        *packet.offload_mut() = Offload::default();
        self.counters.count(Counter::IcmpOutMsgs);
        self.counters.count(Counter::IcmpOutEchoReps);
        let mut meta = IpMeta::new(source, inbound.source, Protocol::ICMP.0, self.settings.ip_default_ttl);
        meta.tos = inbound.tos;
        // What cannot be sent was counted.
        let _ = self.send_ip(now, &meta, packet);
    }

    /// Whether the rate limits let an ICMP message pass. Nothing limits what stays on `lo`.
    fn icmp_allowed(&mut self, now: Instant, kind: Icmpv4Type, destination: IpAddr) -> bool {
        self.is_local(destination)
            || self.icmp_limits.allow(now, &self.settings, &mut self.counters, kind.0, destination)
    }

    /// Sends an ICMP error about the packet in `quote` (see [`Inbound::into_quote`]), if one may be sent about it and the rate
    /// limits allow.
    pub fn send_icmp_error(&mut self, now: Instant, quote: Packet, kind: Icmpv4Type, code: u8) {
        self.send_icmp_error_with(now, quote, kind, code, [0; 4]);
    }

    /// As [`send_icmp_error`](Self::send_icmp_error), with the header's last four bytes.
    pub(super) fn send_icmp_error_with(
        &mut self,
        now: Instant,
        mut quote: Packet,
        kind: Icmpv4Type,
        code: u8,
        rest: [u8; 4],
    ) {
        let Some((about_source, about_destination, tos)) = self.check_quote(&mut quote) else { return };
        let Ok(route) = self.route(about_source, None) else { return };
        // From the address that the packet was for, if it is ours; or if nobody else would say this (as the host there).
        let as_host = matches!(code, unreachable::PORT | unreachable::PROTOCOL);
        let unreachable = kind == Icmpv4Type::DESTINATION_UNREACHABLE;
        let source = match self.is_local(about_destination) || (unreachable && as_host) {
            true if route.kind != RouteKind::Local || self.is_local(about_destination) => about_destination,
            _ => route.source,
        };
        let limited = !(unreachable && code == unreachable::FRAGMENTATION_NEEDED);
        if limited && !self.icmp_allowed(now, kind, about_source) {
            return;
        }
        quote.truncate(QUOTE);
        *quote.offload_mut() = Offload::default();
        let mut header = Icmpv4Header::new(kind, code, rest);
        header.fill_checksum(quote.sum(0, Sum::new()));
        quote.prepend(Icmpv4Header::LEN).copy_from_slice(header.as_bytes());
        self.counters.count(Counter::IcmpOutMsgs);
        self.counters.count(match kind {
            Icmpv4Type::DESTINATION_UNREACHABLE => Counter::IcmpOutDestUnreachs,
            Icmpv4Type::TIME_EXCEEDED => Counter::IcmpOutTimeExcds,
            _ => Counter::IcmpOutParmProbs,
        });
        let mut meta = IpMeta::new(source, about_source, Protocol::ICMP.0, self.settings.ip_default_ttl);
        // RFC 1812 §4.3.2.5: errors have precedence 6.
        meta.tos = tos & 0x1e | 0xc0;
        if self.send_ip(now, &meta, quote).is_err() {
            self.counters.count(Counter::IcmpOutErrors);
        }
    }

    /// The addresses and type of service of a packet that may be the subject of an error (RFC 1122 §3.2.2, RFC 1812 §4.3.2.7): not itself
    /// an error, not to a group, from one host, and no later fragment.
    fn check_quote(&mut self, quote: &mut Packet) -> Option<(IpAddr, IpAddr, u8)> {
        let want = quote.len().min(Ipv4Header::MAX_LEN + 1);
        let head = &*quote.pullup(want)?;
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
        let from_one = source != Ipv4Addr::UNSPECIFIED && !self.is_broadcast(source.into());
        (!is_error && !fragment && from_one && !self.is_broadcast(destination.into())).then_some((
            source.into(),
            destination.into(),
            tos,
        ))
    }

    /// A packet of ours that begins with its IP header, as it is quoted; `None` if its source is not ours.
    pub(super) fn quote_own(&self, mut packet: Packet) -> Option<Packet> {
        let head = &*packet.pullup(Ipv4Header::LEN)?;
        let source = Ipv4View::parse_quoted(head).ok()?.header.src();
        self.is_local(source.into()).then_some(packet)
    }

    /// Tells the sender of a packet that no protocol here takes it.
    pub fn refuse_protocol(&mut self, now: Instant, inbound: Inbound) {
        self.counters.count(Counter::IpInUnknownProtos);
        self.counters.drop(DropReason::IpNoProtocol);
        if let Some(quote) = inbound.into_quote() {
            self.send_icmp_error(now, quote, Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::PROTOCOL);
        }
    }

    /// Tells the sender of a datagram that no socket takes it.
    pub fn refuse_port(&mut self, now: Instant, inbound: Inbound) {
        self.counters.drop(DropReason::NoSocket);
        if let Some(quote) = inbound.into_quote() {
            self.send_icmp_error(now, quote, Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::PORT);
        }
    }

    /// Reassembly ran out of time and the first fragment is there.
    pub(super) fn tell_reassembly_timeout(&mut self, now: Instant, first: Inbound) {
        if let Some(quote) = first.into_quote() {
            self.send_icmp_error(now, quote, Icmpv4Type::TIME_EXCEEDED, time_exceeded::REASSEMBLY);
        }
    }

    /// A neighbour does not answer: the sender of what waited for it is ourselves.
    pub(super) fn tell_host_unreachable(&mut self, now: Instant, packet: Packet) {
        if let Some(quote) = self.quote_own(packet) {
            self.send_icmp_error(now, quote, Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::HOST);
        }
    }
}
