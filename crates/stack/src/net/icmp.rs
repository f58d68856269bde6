//! ICMP of IPv4 in (RFC 792, RFC 1122 §3.2.2). Out: `icmp_out.rs`.

use core::net::IpAddr;

use wireway_packet::{Checksum, HEAD, Instant};
use wireway_wire::icmpv4::unreachable;
use wireway_wire::{Icmpv4Header, Icmpv4Type, Sum};

use super::icmp_out::{Echo, IcmpInbound, QuotedError};
use super::{IcmpErrorKind, Inbound, Net};
use crate::Error;
use crate::counters::{Counter, DropReason};

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
                    let echo = Echo { checksum: header.checksum.get(), code: header.code };
                    self.send_echo_reply(now, echo, inbound);
                    return None;
                }
                DropReason::IcmpIgnored
            }
            Icmpv4Type::ECHO_REPLY if inbound.local && !inbound.broadcast => {
                return Some(IcmpInbound::EchoReply(inbound));
            }
            Icmpv4Type::REDIRECT => {
                if self.receive_redirect(now, &mut inbound, &header) {
                    return None;
                }
                DropReason::IcmpIgnored
            }
            // RFC 6633
            Icmpv4Type::SOURCE_QUENCH => DropReason::IcmpIgnored,
            kind if kind.is_error() => return self.receive_icmp_error(inbound, &header),
            _ => DropReason::IcmpUnhandled,
        };
        if !copied {
            self.drop_packet(ignored, inbound.packet);
        }
        None
    }

    pub(super) fn malformed_icmp(&mut self, inbound: Inbound) -> Option<IcmpInbound> {
        self.counters.count(Counter::IcmpInErrors.of_family(inbound.header.is_v6()));
        self.drop_packet(DropReason::IcmpMalformed, inbound.packet);
        None
    }

    /// RFC 1122 §3.2.2.2: about a packet that we sent.
    fn receive_redirect(&mut self, now: Instant, inbound: &mut Inbound, header: &Icmpv4Header) -> bool {
        let (ours, router) = (inbound.destination(), inbound.source());
        let want = inbound.packet.len().min(HEAD);
        let head = inbound.packet.pullup(want).map(|head| &*head).unwrap_or_default();
        let Ok(quoted) = header.quoted(head.get(Icmpv4Header::LEN..).unwrap_or_default()) else { return false };
        let about_ours = ours == IpAddr::V4(quoted.ip.header.src()) && quoted.payload.len() >= 8;
        let destination = IpAddr::V4(quoted.ip.header.dst());
        about_ours
            && inbound.local
            && !inbound.broadcast
            && self.redirected_v4(now, inbound.interface, router, header.gateway(), destination)
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
        if source != inbound.header.destination() || inbound.broadcast {
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
            from: inbound.header.source(),
            ttl: inbound.ttl,
            interface: inbound.interface,
            source,
            destination: quoted.ip.header.dst().into(),
            protocol: quoted.ip.header.protocol().0,
            quoted: quoted.payload.into(),
        }))
    }
}
