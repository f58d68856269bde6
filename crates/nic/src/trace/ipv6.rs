//! Lines for IPv6: what stands behind the extension headers, fragments, and ICMPv6 by the names of its messages.

use std::fmt::Write as _;

use wireway_wire::icmpv6::unreachable;
use wireway_wire::{
    Icmpv6Header, Icmpv6Type, Ipv6Chain, Ipv6Header, MldReport, NeighbourAdvertisement, NeighbourSolicitation,
    Protocol, Redirect,
};

use super::{FirstNumbers, Stop, transport};

pub(super) fn ipv6(line: &mut String, first: &mut FirstNumbers, packet: &[u8]) -> Result<(), Stop> {
    let (header, payload) = Ipv6Header::parse(packet)?;
    let (src, dst) = (header.src(), header.dst());
    line.push_str("IP6 ");
    let chain = Ipv6Chain::parse(header.next_header, payload)?;
    let rest = payload.get(chain.len..).unwrap_or_default();
    if let Some((_, fragment)) = chain.fragment.filter(|(_, fragment)| !fragment.is_atomic()) {
        let more = if fragment.more_fragments() { "+" } else { "" };
        let (protocol, id, at) = (chain.protocol, fragment.ident(), fragment.offset());
        return Ok(write!(
            line,
            "{src} > {dst}: {protocol}, fragment {id:x}:{}@{at}{more}, length {}",
            rest.len(),
            rest.len()
        )?);
    }
    if chain.protocol != Protocol::ICMPV6 {
        return transport(line, first, chain.protocol, (src.into(), dst.into()), rest);
    }
    write!(line, "{src} > {dst}: ICMP6 ")?;
    message(line, header, rest)?;
    Ok(write!(line, ", length {}", rest.len())?)
}

fn message(line: &mut String, ip: &Ipv6Header, message: &[u8]) -> Result<(), Stop> {
    let (header, rest) = Icmpv6Header::parse(message)?;
    match header.kind {
        Icmpv6Type::ECHO_REQUEST => write!(line, "echo request, id {}, seq {}", header.ident(), header.sequence())?,
        Icmpv6Type::ECHO_REPLY => write!(line, "echo reply, id {}, seq {}", header.ident(), header.sequence())?,
        Icmpv6Type::DESTINATION_UNREACHABLE => line.push_str(match header.code {
            unreachable::NO_ROUTE => "no route",
            unreachable::PROHIBITED => "prohibited",
            unreachable::ADDRESS => "address unreachable",
            unreachable::PORT => "port unreachable",
            _ => "destination unreachable",
        }),
        Icmpv6Type::PACKET_TOO_BIG => write!(line, "packet too big, mtu {}", header.mtu())?,
        Icmpv6Type::TIME_EXCEEDED => line.push_str("time exceeded"),
        Icmpv6Type::PARAMETER_PROBLEM => write!(line, "parameter problem at byte {}", header.pointer())?,
        Icmpv6Type::ROUTER_SOLICITATION => line.push_str("router solicitation"),
        Icmpv6Type::ROUTER_ADVERTISEMENT => line.push_str("router advertisement"),
        Icmpv6Type::NEIGHBOUR_SOLICITATION => {
            let (solicitation, _) = NeighbourSolicitation::parse(ip.src(), ip.dst(), message)?;
            write!(line, "neighbor solicitation, who has {}", solicitation.target())?;
        }
        Icmpv6Type::NEIGHBOUR_ADVERTISEMENT => {
            let (advertisement, _) = NeighbourAdvertisement::parse(ip.dst(), message)?;
            write!(line, "neighbor advertisement, {} is here", advertisement.target())?;
        }
        Icmpv6Type::REDIRECT => {
            let (redirect, _) = Redirect::parse(ip.src(), message)?;
            write!(line, "redirect, {} by {}", redirect.destination(), redirect.target())?;
        }
        Icmpv6Type::MLD_QUERY => line.push_str("multicast query"),
        Icmpv6Type::MLD_REPORT_V1 | Icmpv6Type::MLD_DONE => line.push_str("multicast listener"),
        Icmpv6Type::MLD_REPORT_V2 => {
            line.push_str("multicast listener report");
            for record in MldReport::parse(message)?.records() {
                write!(line, " {}", record.group)?;
            }
        }
        Icmpv6Type(other) => write!(line, "type {other}, code {}", header.code)?,
    }
    if header.kind.is_error()
        && let Ok(quoted) = header.quoted(rest)
    {
        write!(line, ", for {}", quoted.ip.dst())?;
    }
    Ok(())
}
