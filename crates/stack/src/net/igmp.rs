//! IGMP: a host's messages of all three versions (RFC 9776, RFC 2236, RFC 1112 appendix I). When they are sent: `membership.rs`.

use core::net::{IpAddr, Ipv4Addr};
use std::collections::VecDeque;

use wireway_packet::{Checksum, Instant, Packet};
use wireway_wire::igmp::{self, IgmpHeader, IgmpQuery, IgmpReportWriter, IgmpType};
use wireway_wire::ipv4_options::ROUTER_ALERT;
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{Ipv4Fields, Ipv4Header, Ipv4Option, Ipv4OptionIter, MacAddr, Protocol, QueryVersion};

use super::membership::{Record, fill};
use super::{Inbound, Net};
use crate::InterfaceId;
use crate::counters::{Counter, DropReason};

/// Internetwork control (RFC 9776 §4).
const TOS: u8 = 0xc0;

const HEADER_LEN: usize = Ipv4Header::LEN + ROUTER_ALERT.len();

impl Net {
    /// Takes in an IGMP message. `copied`: a raw socket got it, so that it is not lost if the host has no use for it.
    pub fn receive_igmp(&mut self, now: Instant, inbound: Inbound, copied: bool) {
        let message = inbound.packet.to_vec();
        let checked = match inbound.packet.offload().checksum {
            Checksum::Complete => igmp::verify_checksum(&message).is_ok(),
            Checksum::Verified | Checksum::Partial { .. } => true,
        };
        let refused =
            if checked { self.take_igmp(now, &inbound, &message).err() } else { Some(DropReason::IgmpChecksum) };
        if let Some(reason) = refused {
            if reason != DropReason::IgmpIgnored {
                self.counters.count(Counter::IgmpInErrors);
            }
            if !copied {
                self.counters.drop(reason);
            }
        }
    }

    fn take_igmp(&mut self, now: Instant, inbound: &Inbound, message: &[u8]) -> Result<(), DropReason> {
        let (header, _) = IgmpHeader::parse(message).map_err(|_| DropReason::IgmpMalformed)?;
        match header.kind {
            IgmpType::QUERY => {
                self.counters.count(Counter::IgmpInQueries);
                let (query, sources) = IgmpQuery::parse(message).map_err(|_| DropReason::IgmpMalformed)?;
                // RFC 9776 §4: all messages have TTL 1, as MLD's have hop limit 1; §9.1: and a router alert, which version 1 has not (RFC 1112,
                // appendix I).
                let as_its_version = match query.version {
                    QueryVersion::V1 => inbound.destination() == IpAddr::V4(igmp::ALL_HOSTS),
                    _ => has_router_alert(inbound),
                };
                if inbound.ttl != 1 || !as_its_version {
                    return Err(DropReason::IgmpIgnored);
                }
                self.receive_query(now, inbound.interface, &query, &sources);
                Ok(())
            }
            IgmpType::REPORT_V1 | IgmpType::REPORT_V2 => {
                self.counters.count(Counter::IgmpInReports);
                // RFC 2236 §2.4 and §4: a report goes to its group.
                if inbound.destination() != IpAddr::V4(header.group()) || !header.group().is_multicast() {
                    return Err(DropReason::IgmpMalformed);
                }
                self.receive_old_report(now, inbound.interface, header.group().into());
                Ok(())
            }
            // Those are for routers.
            _ => Err(DropReason::IgmpIgnored),
        }
    }

    pub(super) fn send_igmp_report(&mut self, interface: InterfaceId, mut records: VecDeque<Record>) {
        let Some(at) = self.interface(interface) else { return };
        let room = usize::from(at.ip_mtu(false)).saturating_sub(HEADER_LEN);
        while !records.is_empty() {
            let mut message = vec![0; room];
            let mut writer = IgmpReportWriter::new(&mut message);
            fill(&mut writer, &mut records, |address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            });
            let Some(len) = writer.finish() else { return };
            message.truncate(len);
            self.send_igmp(interface, igmp::ALL_IGMPV3_ROUTERS, &message);
        }
    }

    pub(super) fn send_igmp_old_report(&mut self, interface: InterfaceId, group: Ipv4Addr, version: QueryVersion) {
        let kind = if version == QueryVersion::V1 { IgmpType::REPORT_V1 } else { IgmpType::REPORT_V2 };
        self.send_igmp(interface, group, IgmpHeader::new(kind, group).as_bytes());
    }

    pub(super) fn send_igmp_leave(&mut self, interface: InterfaceId, group: Ipv4Addr) {
        self.send_igmp(interface, igmp::ALL_ROUTERS, IgmpHeader::new(IgmpType::LEAVE, group).as_bytes());
    }

    /// RFC 9776 §4: TTL 1, internetwork control, router alert; from the interface's address, or if it has none (§4.2.13) from 0.0.0.0.
    fn send_igmp(&mut self, interface: InterfaceId, destination: Ipv4Addr, message: &[u8]) {
        let Some(at) = self.interface(interface) else { return };
        let src = match at.source_for(destination.into()) {
            Some(IpAddr::V4(address)) => address,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let fields = Ipv4Fields {
            tos: TOS,
            payload_len: message.len() as u16,
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 1,
            protocol: Protocol::IGMP,
            src,
            dst: destination,
        };
        let mut packet = Packet::copy_from(message);
        packet.prepend(ROUTER_ALERT.len()).copy_from_slice(&ROUTER_ALERT);
        packet.prepend(Ipv4Header::LEN).copy_from_slice(Ipv4Header::new(&fields, &ROUTER_ALERT).as_bytes());
        self.counters.count(Counter::IgmpOutReports);
        self.counters.count(Counter::IpOutRequests);
        self.counters.count(Counter::IpExtOutMcastPkts);
        self.counters[Counter::IpExtOutOctets] += packet.len() as u64;
        let _ = self.transmit_ip(interface, MacAddr::multicast_v4(destination), false, packet);
    }
}

fn has_router_alert(inbound: &Inbound) -> bool {
    let options = inbound.options.as_deref().unwrap_or_default();
    Ipv4OptionIter::new(options).any(|option| option.is_ok_and(|option| option.kind == Ipv4Option::ROUTER_ALERT))
}
