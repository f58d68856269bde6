//! MLD: a host's messages of both versions (RFC 9777, RFC 2710). When they are sent: `membership.rs`.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::VecDeque;

use wireway_packet::{Instant, Packet};
use wireway_wire::ipv6::{ALL_MLDV2_ROUTERS, ALL_ROUTERS};
use wireway_wire::ipv6_options::router_alert;
use wireway_wire::mld::{MldQuery, MldReportWriter, MldV1Message};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{ExtensionIter, ExtensionKind, Icmpv6Type, Ipv6Fields, Ipv6Header, MacAddr, Protocol};

use super::membership::{Record, fill};
use super::{Inbound, IpHeader, Net};
use crate::InterfaceId;
use crate::counters::{Counter, DropReason};

/// A router alert with the value of MLD, 0 (RFC 2711 §2.1).
const ALERT: [u8; 8] = router_alert(Protocol::ICMPV6, 0);

const HEADER_LEN: usize = Ipv6Header::LEN + ALERT.len();

/// Whether an ICMPv6 message is one of MLD.
pub(super) fn is_mld(kind: Icmpv6Type) -> bool {
    matches!(kind, Icmpv6Type::MLD_QUERY | Icmpv6Type::MLD_REPORT_V1 | Icmpv6Type::MLD_DONE | Icmpv6Type::MLD_REPORT_V2)
}

impl Net {
    /// Takes in an MLD message, whose checksum is right. Why it is not taken comes back.
    pub(super) fn receive_mld(&mut self, now: Instant, inbound: &Inbound, kind: Icmpv6Type) -> Result<(), DropReason> {
        let message = inbound.packet.to_vec();
        let IpAddr::V6(source) = inbound.source() else { return Err(DropReason::IcmpMalformed) };
        match kind {
            Icmpv6Type::MLD_QUERY => {
                // RFC 9777 §6.2: from a router of the link, or it is dropped.
                if !source.is_unicast_link_local() || inbound.ttl != 1 || !has_router_alert(inbound) {
                    return Err(DropReason::IcmpIgnored);
                }
                let (query, sources) = MldQuery::parse(&message).map_err(|_| DropReason::IcmpMalformed)?;
                self.receive_query(now, inbound.interface, &query, &sources);
                Ok(())
            }
            Icmpv6Type::MLD_REPORT_V1 => {
                let report = MldV1Message::parse(&message).map_err(|_| DropReason::IcmpMalformed)?;
                // RFC 2710 §3 and §5: from the link, to the group.
                let from_link = source.is_unicast_link_local() || source.is_unspecified();
                if !from_link || inbound.ttl != 1 || inbound.destination() != IpAddr::V6(report.group()) {
                    return Err(DropReason::IcmpIgnored);
                }
                self.receive_old_report(now, inbound.interface, report.group().into());
                Ok(())
            }
            // Those are for routers.
            _ => Err(DropReason::IcmpIgnored),
        }
    }

    pub(super) fn send_mld_report(&mut self, interface: InterfaceId, mut records: VecDeque<Record>) {
        let Some(at) = self.interface(interface) else { return };
        let room = usize::from(at.ip_mtu(true)).saturating_sub(HEADER_LEN);
        let source = self.mld_source(interface);
        while !records.is_empty() {
            let mut message = vec![0; room];
            let mut writer = MldReportWriter::new(&mut message);
            fill(&mut writer, &mut records, |address| match address {
                IpAddr::V6(address) => Some(address),
                IpAddr::V4(_) => None,
            });
            let Some(len) = writer.finish(source, ALL_MLDV2_ROUTERS) else { return };
            message.truncate(len);
            self.counters.count(Counter::Icmp6OutMldv2Reports);
            self.send_mld(interface, source, ALL_MLDV2_ROUTERS, &message);
        }
    }

    pub(super) fn send_mld_v1_report(&mut self, interface: InterfaceId, group: Ipv6Addr) {
        let source = self.mld_source(interface);
        self.counters.count(Counter::Icmp6OutGroupMembResponses);
        self.send_mld(interface, source, group, MldV1Message::report(source, group).as_bytes());
    }

    pub(super) fn send_mld_done(&mut self, interface: InterfaceId, group: Ipv6Addr) {
        let source = self.mld_source(interface);
        self.counters.count(Counter::Icmp6OutGroupMembReductions);
        self.send_mld(interface, source, ALL_ROUTERS, MldV1Message::done(source, group).as_bytes());
    }

    /// RFC 9777 §5.2.13, RFC 3590 §4: a link-local address, or none while there is no such that is not tentative.
    fn mld_source(&self, interface: InterfaceId) -> Ipv6Addr {
        let own = self.interface(interface).into_iter().flat_map(|at| &at.addresses);
        let link_local = own.filter_map(|cidr| match cidr.address {
            IpAddr::V6(address) if address.is_unicast_link_local() => Some(address),
            _ => None,
        });
        link_local.min().unwrap_or(Ipv6Addr::UNSPECIFIED)
    }

    /// RFC 9777 §5: hop limit 1 and a router alert.
    fn send_mld(&mut self, interface: InterfaceId, src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) {
        let mut packet = Packet::copy_from(message);
        packet.prepend(ALERT.len()).copy_from_slice(&ALERT);
        let fields = Ipv6Fields {
            traffic_class: 0,
            flow_label: 0,
            payload_len: packet.len() as u16,
            next_header: Protocol::HOP_BY_HOP,
            hop_limit: 1,
            src,
            dst,
        };
        packet.prepend(Ipv6Header::LEN).copy_from_slice(Ipv6Header::new(&fields).as_bytes());
        self.counters.count(Counter::Icmp6OutMsgs);
        self.counters.count(Counter::Ip6OutRequests);
        self.counters.count(Counter::Ip6OutMcastPkts);
        self.counters[Counter::Ip6OutOctets] += packet.len() as u64;
        let _ = self.transmit_ip(interface, MacAddr::multicast_v6(dst), true, packet);
    }
}

fn has_router_alert(inbound: &Inbound) -> bool {
    let (IpHeader::V6(header), Some(chain)) = (&inbound.header, &inbound.options) else { return false };
    ExtensionIter::new(header.next_header, chain).any(|extension| match extension.map(|extension| extension.kind) {
        Ok(ExtensionKind::HopByHop(mut options)) => {
            options.any(|option| option.is_ok_and(|option| option.router_alert() == Some(0)))
        }
        _ => false,
    })
}
