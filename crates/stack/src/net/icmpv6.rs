//! ICMPv6 in (RFC 4443). Out: `icmp_out.rs`; neighbour discovery: `ndp.rs`.

use wireway_packet::{Checksum, Instant};
use wireway_wire::icmpv6::unreachable;
use wireway_wire::{Icmpv6Header, Icmpv6Type};

use super::icmp_out::{Echo, IcmpInbound, QuotedError};
use super::ipv6::MIN_MTU;
use super::ndp::is_ndp;
use super::{IcmpErrorKind, Inbound, Net, mld};
use crate::Error;
use crate::counters::{Counter, DropReason};

/// What an error means to a socket, and whether it ends the call of a connected datagram socket: Linux's icmpv6_err_convert.
fn meaning(header: &Icmpv6Header) -> Option<(IcmpErrorKind, Error, bool)> {
    use IcmpErrorKind::*;
    Some(match (header.kind, header.code) {
        (Icmpv6Type::DESTINATION_UNREACHABLE, code) => match code {
            unreachable::NO_ROUTE => (NetUnreachable, Error::NetworkUnreachable, false),
            unreachable::PROHIBITED => (Prohibited, Error::AccessDenied, true),
            unreachable::BEYOND_SCOPE | unreachable::ADDRESS => (HostUnreachable, Error::HostUnreachable, false),
            unreachable::PORT => (PortUnreachable, Error::ConnectionRefused, true),
            unreachable::SOURCE_POLICY | unreachable::REJECT_ROUTE => (Prohibited, Error::AccessDenied, true),
            _ => return None,
        },
        (Icmpv6Type::PACKET_TOO_BIG, _) => {
            (TooBig(u16::try_from(header.mtu()).unwrap_or(u16::MAX)), Error::MessageTooLong, false)
        }
        (Icmpv6Type::TIME_EXCEEDED, _) => (TimeExceeded, Error::HostUnreachable, false),
        (Icmpv6Type::PARAMETER_PROBLEM, _) => (ParameterProblem, Error::Proto, true),
        _ => return None,
    })
}

impl Net {
    /// Takes in an ICMPv6 message. What concerns a socket comes back. `copied`: a raw socket got it, so that it is not lost if
    /// the host itself has no use for it.
    pub fn receive_icmpv6(&mut self, now: Instant, mut inbound: Inbound, copied: bool) -> Option<IcmpInbound> {
        self.counters.count(Counter::Icmp6InMsgs);
        let unverified = inbound.packet.offload().checksum == Checksum::Complete;
        if unverified && !inbound.packet.sum(0, inbound.pseudo()).is_valid() {
            self.counters.count(Counter::Icmp6InErrors);
            self.counters.count(Counter::Icmp6InCsumErrors);
            self.drop_packet(DropReason::IcmpChecksum, inbound.packet);
            return None;
        }
        let head = inbound.packet.pullup(Icmpv6Header::LEN).map(|head| &*head).unwrap_or_default();
        let Ok((&header, _)) = Icmpv6Header::parse(head) else { return self.malformed_icmp(inbound) };
        if let Some(counter) = counter_of(header.kind) {
            self.counters.count(counter);
        }
        let ignored = match header.kind {
            Icmpv6Type::ECHO_REQUEST if inbound.local => {
                let group = inbound.broadcast && self.settings.icmpv6_echo_ignore_multicast;
                if !group && !self.settings.icmpv6_echo_ignore_all {
                    let echo = Echo { checksum: header.checksum.get(), code: header.code };
                    self.send_echo_reply(now, echo, inbound);
                    return None;
                }
                DropReason::IcmpIgnored
            }
            Icmpv6Type::ECHO_REPLY if inbound.local && !inbound.broadcast => {
                return Some(IcmpInbound::EchoReply(inbound));
            }
            kind if mld::is_mld(kind) => match self.receive_mld(now, &inbound, kind) {
                Ok(()) => return None,
                Err(reason) => reason,
            },
            kind if kind.is_error() => return self.receive_icmpv6_error(inbound, &header),
            kind if is_ndp(kind) => match self.receive_ndp(now, kind, &inbound) {
                Ok(()) => return None,
                Err(reason) => reason,
            },
            _ => DropReason::IcmpUnhandled,
        };
        if !copied {
            self.drop_packet(ignored, inbound.packet);
        }
        None
    }

    fn receive_icmpv6_error(&mut self, inbound: Inbound, header: &Icmpv6Header) -> Option<IcmpInbound> {
        // All that may be quoted: extension headers can be long.
        let mut bytes = vec![0; inbound.packet.len().min(MIN_MTU.into())];
        inbound.packet.copy_to(0, &mut bytes);
        let body = bytes.get(Icmpv6Header::LEN..).unwrap_or_default();
        let (Ok(quoted), Some((kind, error, fatal))) = (header.quoted(body), meaning(header)) else {
            return self.malformed_icmp(inbound);
        };
        let (source, destination) = (quoted.ip.src(), quoted.ip.dst());
        let too_small = matches!(kind, IcmpErrorKind::TooBig(mtu) if mtu < MIN_MTU);
        // A host hears only of what it sent itself, from the address it sent it from. RFC 8201 §4: less than the least MTU is not believed.
        if source != inbound.destination() || inbound.broadcast || too_small {
            self.drop_packet(DropReason::IcmpIgnored, inbound.packet);
            return None;
        }
        match quoted.transport() {
            Ok((chain, rest)) if chain.has_transport() && rest.len() >= 8 => Some(IcmpInbound::Error(QuotedError {
                kind,
                error,
                fatal,
                icmp: (header.kind.0, header.code),
                from: inbound.source(),
                ttl: inbound.ttl,
                interface: inbound.interface,
                source: source.into(),
                destination: destination.into(),
                protocol: chain.protocol.0,
                quoted: rest.into(),
            })),
            _ => self.malformed_icmp(inbound),
        }
    }
}

fn counter_of(kind: Icmpv6Type) -> Option<Counter> {
    Some(match kind {
        Icmpv6Type::DESTINATION_UNREACHABLE => Counter::Icmp6InDestUnreachs,
        Icmpv6Type::PACKET_TOO_BIG => Counter::Icmp6InPktTooBigs,
        Icmpv6Type::TIME_EXCEEDED => Counter::Icmp6InTimeExcds,
        Icmpv6Type::PARAMETER_PROBLEM => Counter::Icmp6InParmProblems,
        Icmpv6Type::ECHO_REQUEST => Counter::Icmp6InEchos,
        Icmpv6Type::ECHO_REPLY => Counter::Icmp6InEchoReplies,
        Icmpv6Type::MLD_QUERY => Counter::Icmp6InGroupMembQueries,
        Icmpv6Type::MLD_REPORT_V1 => Counter::Icmp6InGroupMembResponses,
        Icmpv6Type::MLD_DONE => Counter::Icmp6InGroupMembReductions,
        Icmpv6Type::MLD_REPORT_V2 => Counter::Icmp6InMldv2Reports,
        Icmpv6Type::ROUTER_SOLICITATION => Counter::Icmp6InRouterSolicits,
        Icmpv6Type::ROUTER_ADVERTISEMENT => Counter::Icmp6InRouterAdvertisements,
        Icmpv6Type::NEIGHBOUR_SOLICITATION => Counter::Icmp6InNeighborSolicits,
        Icmpv6Type::NEIGHBOUR_ADVERTISEMENT => Counter::Icmp6InNeighborAdvertisements,
        Icmpv6Type::REDIRECT => Counter::Icmp6InRedirects,
        _ => return None,
    })
}
