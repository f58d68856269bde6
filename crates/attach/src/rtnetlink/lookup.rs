//! Where a packet to one destination would go: `ip route get`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMetric, RoutePreference, RouteProtocol, RouteScope, RouteType,
};
use rustix::io::Errno;
use wireway_stack::{Host, RouteKind};

use super::request::{Request, word};
use super::route::{self, ADDRESS_METRIC, FIXED, RTA_DST, RTA_OIF, is_own, route_address, shown_metric};
use super::{Caller, Refusal, address_family};
use crate::links;

const RTA_SRC: u16 = 2;
const RTA_IIF: u16 = 3;

// linux/rtnetlink.h, linux/in_route.h
const RT_TABLE_LOCAL: u8 = 255;
const RTM_F_FIB_MATCH: u32 = 0x2000;
const RTCF_LOCAL: u32 = 0x8000_0000;
const RTCF_MULTICAST: u32 = 0x2000_0000;
const RTCF_BROADCAST: u32 = 0x1000_0000;

pub(super) fn one(host: &mut Host, caller: Caller, request: &Request<'_>) -> Result<RouteNetlinkMessage, Refusal> {
    let fixed: &[u8; FIXED] = request.fixed()?;
    let attributes = request.attributes(FIXED);
    let family = i32::from(request.family());
    let (whole, anywhere) = match family {
        libc::AF_INET => (32, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        libc::AF_INET6 => (128, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        _ => return Err(Errno::OPNOTSUPP.into()),
    };
    let destination = attributes.address(RTA_DST, family)?.unwrap_or(anywhere);
    let from = attributes.address(RTA_SRC, family)?.filter(|from| !from.is_unspecified());
    if attributes.u32(RTA_IIF)?.is_some_and(|index| index > 0) {
        return Err(Refusal::unsupported("This host does not forward"));
    }
    let by = match attributes.u32(RTA_OIF)? {
        None | Some(0) => None,
        Some(index) => Some(links::with_index(host, index).ok_or(Errno::NODEV)?.id),
    };
    if from.is_some_and(|from| !is_own(host, from)) {
        return Err(Errno::NETUNREACH.into());
    }
    let found = host.route_towards(destination, by)?;
    let flags = word(fixed, 8);
    if flags & RTM_F_FIB_MATCH != 0 {
        let entry = found.entry.ok_or(Errno::NETUNREACH)?;
        return Ok(RouteNetlinkMessage::NewRoute(route::message(&entry)));
    }
    let v4 = destination.is_ipv4();
    let (kind, cached) = match found.kind {
        RouteKind::Local => (RouteType::Local, RTCF_LOCAL),
        RouteKind::Unicast => (RouteType::Unicast, 0),
        RouteKind::Broadcast => (RouteType::Broadcast, RTCF_BROADCAST | RTCF_LOCAL),
        RouteKind::Multicast => (RouteType::Multicast, RTCF_MULTICAST),
    };
    let mut message = found.entry.filter(|_| !v4).map(|entry| route::message(&entry)).unwrap_or_default();
    // IPv4's local table is one with the main one as long as there are no rules.
    let local = !v4 && matches!(found.kind, RouteKind::Local | RouteKind::Multicast);
    let table = if local { RT_TABLE_LOCAL } else { RouteHeader::RT_TABLE_MAIN };
    if local {
        message.header.protocol = RouteProtocol::Kernel;
    }
    message.header.address_family = address_family(destination);
    message.header.destination_prefix_length = whole;
    message.header.table = table;
    message.header.scope = RouteScope::Universe;
    message.header.kind = kind;
    if v4 {
        message.header.flags = RouteFlags::Cloned | RouteFlags::from_bits_retain(cached);
    }
    let metric = match (found.kind, found.entry) {
        (RouteKind::Multicast, _) => ADDRESS_METRIC,
        (_, entry) => entry.map_or(0, |entry| shown_metric(&entry)),
    };
    message.attributes = vec![
        RouteAttribute::Destination(route_address(destination)),
        RouteAttribute::Table(table.into()),
        RouteAttribute::Oif(links::index(found.interface)),
    ];
    let mut say = |attribute| message.attributes.push(attribute);
    match from {
        Some(from) => {
            say(RouteAttribute::Source(route_address(from)));
            message.header.source_prefix_length = whole;
        }
        None if !v4 => {
            say(RouteAttribute::Source(route_address(anywhere)));
            message.header.source_prefix_length = whole;
        }
        None => {}
    }
    let mut say = |attribute| message.attributes.push(attribute);
    if from.is_none() || !v4 {
        say(RouteAttribute::PrefSource(route_address(found.source)));
    }
    if let Some(gateway) = found.gateway {
        say(RouteAttribute::Gateway(route_address(gateway)));
    }
    if v4 {
        say(RouteAttribute::Uid(caller.user));
    } else {
        say(RouteAttribute::Priority(metric));
        say(RouteAttribute::Preference(RoutePreference::Medium));
    }
    let link_mtu = host.interface(found.interface).map_or(u32::MAX, |link| link.mtu);
    if u32::from(found.mtu) < link_mtu.min(u16::MAX.into()) {
        say(RouteAttribute::Metrics(vec![RouteMetric::Mtu(found.mtu.into())]));
    }
    Ok(RouteNetlinkMessage::NewRoute(message))
}
