//! Routes: `ip route`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RoutePreference, RouteScope, RouteType,
};
use rustix::io::Errno;
use wireway_packet::Instant;
use wireway_stack::{Cidr, Error, Host, InterfaceId, RouteEntry, RouteKind, RouteProtocol};

use super::request::{Attributes, Request, word};
use super::{Refusal, address_family, is_of};
use crate::links;

pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_TABLE: u16 = 15;
const RTA_PREF: u16 = 20;
const RTAX_MTU: u16 = 2;
/// What would make a route another one than this host can have: more next hops, flows, encapsulations, an end.
const UNSUPPORTED: [u16; 8] = [9, 11, 18, 21, 22, 23, 26, 30];
/// Of the metrics (RTAX_*) all but the MTU.
const RTAX_UNSUPPORTED: [u16; 15] = [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

// linux/rtnetlink.h
const RTN_UNICAST: u8 = 1;

/// What IPv6's routes have if nothing is said (IP6_RT_PRIO_USER), and those of addresses (IP6_RT_PRIO_ADDRCONF).
const USER_METRIC: u32 = 1024;
pub(super) const ADDRESS_METRIC: u32 = 256;

/// Bytes of `struct rtmsg`: family, lengths of destination and source, type of service, table, protocol, scope, type, flags.
pub(super) const FIXED: usize = 12;

pub(super) fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}

pub(super) fn all(host: &Host, wanted: u8) -> Vec<RouteNetlinkMessage> {
    let mut routes = host.routes();
    // As the kernel lists them: IPv4's default route first, IPv6's last.
    routes.sort_by_key(|route| (route.destination.address, route.metric));
    routes.sort_by_key(|route| route.destination.address.is_ipv6() && route.destination.prefix_len == 0);
    let of_family = routes.iter().filter(|route| is_of(wanted, route.destination.address));
    of_family.map(|route| RouteNetlinkMessage::NewRoute(message(route))).collect()
}

pub(super) fn message(route: &RouteEntry) -> RouteMessage {
    let network = route.destination.network();
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(network);
    message.header.destination_prefix_length = route.destination.prefix_len;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = route.protocol.0.into();
    // Routes of IPv6 have no scope.
    let on_link = route.gateway.is_none() && network.is_ipv4();
    message.header.scope = if on_link { RouteScope::Link } else { RouteScope::Universe };
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Table(RouteHeader::RT_TABLE_MAIN.into()));
    message.attributes.push(RouteAttribute::Oif(links::index(route.interface)));
    if route.destination.prefix_len > 0 {
        message.attributes.push(RouteAttribute::Destination(route_address(network)));
    }
    if let Some(gateway) = route.gateway {
        message.attributes.push(RouteAttribute::Gateway(route_address(gateway)));
    }
    if let Some(source) = route.source {
        message.attributes.push(RouteAttribute::PrefSource(route_address(source)));
    }
    if let Some(metric) = Some(shown_metric(route)).filter(|metric| *metric > 0) {
        message.attributes.push(RouteAttribute::Priority(metric));
    }
    if let Some(mtu) = route.mtu {
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu.into())]));
    }
    if network.is_ipv6() {
        message.attributes.push(RouteAttribute::Preference(RoutePreference::Medium));
    }
    message
}

/// The metric as Linux has it: in this host 0 comes before all others in IPv6 too.
pub(super) fn shown_metric(route: &RouteEntry) -> u32 {
    match route.destination.address {
        IpAddr::V6(_) if route.metric == 0 && route.protocol == RouteProtocol::KERNEL => ADDRESS_METRIC,
        IpAddr::V6(_) if route.metric == 0 => USER_METRIC,
        _ => route.metric,
    }
}

/// What a request names.
struct Named<'a> {
    destination: Cidr,
    gateway: Option<IpAddr>,
    interface: Option<InterfaceId>,
    source: Option<IpAddr>,
    metric: Option<u32>,
    protocol: u8,
    /// RTNH_F_ONLINK
    onlink: bool,
    attributes: Attributes<'a>,
}

fn read<'a>(host: &Host, request: &Request<'a>) -> Result<Named<'a>, Refusal> {
    const RTNH_F_ONLINK: u32 = 4;
    let fixed: &[u8; FIXED] = request.fixed()?;
    let attributes = request.attributes(FIXED);
    let family = i32::from(request.family());
    let (longest, anywhere) = match family {
        libc::AF_INET => (32, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        libc::AF_INET6 => (128, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        _ => return Err(Errno::OPNOTSUPP.into()),
    };
    let [_, prefix_len, source_len, tos, table, protocol, _, kind, ..] = *fixed;
    if prefix_len > longest {
        return Err(Refusal::new(Errno::INVAL, "Invalid prefix length"));
    }
    let destination = Cidr { address: attributes.address(RTA_DST, family)?.unwrap_or(anywhere), prefix_len };
    if family == libc::AF_INET && destination.network() != destination.address {
        return Err(Refusal::new(Errno::INVAL, "Invalid prefix for given prefix length"));
    }
    let destination = Cidr { address: destination.network(), prefix_len };
    if ![0, RTN_UNICAST].contains(&kind) {
        return Err(Refusal::unsupported("Only unicast routes are supported"));
    }
    let table = attributes.u32(RTA_TABLE)?.unwrap_or(table.into());
    if ![0, u32::from(RouteHeader::RT_TABLE_MAIN)].contains(&table) {
        return Err(Refusal::unsupported("Only the main table can be changed"));
    }
    if attributes.u8(RTA_PREF)?.is_some_and(|preference| preference != 0) {
        return Err(Refusal::unsupported("Preferences of routes come from routers alone"));
    }
    if source_len > 0 || tos > 0 || UNSUPPORTED.into_iter().any(|kind| attributes.has(kind)) {
        return Err(Refusal::unsupported("Only routes by destination with one next hop are supported"));
    }
    let interface = match attributes.u32(RTA_OIF)? {
        None | Some(0) => None,
        Some(index) => Some(links::with_index(host, index).ok_or(Errno::NODEV)?.id),
    };
    Ok(Named {
        destination,
        gateway: attributes.address(RTA_GATEWAY, family)?.filter(|gateway| !gateway.is_unspecified()),
        interface,
        source: attributes.address(RTA_PREFSRC, family)?,
        metric: attributes.u32(RTA_PRIORITY)?.filter(|metric| *metric > 0),
        protocol,
        onlink: word(fixed, 8) & RTNH_F_ONLINK != 0,
        attributes,
    })
}

impl Named<'_> {
    /// The metric of a route to be added.
    fn metric_to_add(&self) -> u32 {
        self.metric.unwrap_or(if self.destination.address.is_ipv6() { USER_METRIC } else { 0 })
    }

    /// The route to be added.
    fn entry(&self, host: &mut Host) -> Result<RouteEntry, Refusal> {
        let interface = self.next_hop(host)?;
        if interface == InterfaceId::LOOPBACK {
            return Err(Refusal::unsupported("Routes by lo are not supported"));
        }
        if self.source.is_some_and(|source| !is_own(host, source)) {
            return Err(Refusal::new(
                Errno::INVAL,
                match self.destination.address {
                    IpAddr::V4(_) => "Invalid prefsrc address",
                    IpAddr::V6(_) => "Invalid source address",
                },
            ));
        }
        let metrics = self.attributes.nested(RTA_METRICS).unwrap_or_default();
        if RTAX_UNSUPPORTED.into_iter().any(|kind| metrics.has(kind)) {
            return Err(Refusal::unsupported("Of the metrics only mtu is supported"));
        }
        let mtu = metrics.u32(RTAX_MTU)?.filter(|mtu| *mtu > 0);
        Ok(RouteEntry {
            gateway: self.gateway,
            metric: self.metric_to_add(),
            source: self.source,
            mtu: mtu.map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX).max(68)),
            protocol: RouteProtocol(self.protocol),
            ..RouteEntry::new(self.destination, interface)
        })
    }

    /// By which interface it leads: a gateway must be a neighbour on one.
    fn next_hop(&self, host: &mut Host) -> Result<InterfaceId, Refusal> {
        let Some(gateway) = self.gateway else {
            return self.interface.ok_or(Refusal::from(Errno::NODEV));
        };
        if self.onlink {
            return self.interface.ok_or(Refusal::new(Errno::NODEV, "Nexthop device required for onlink"));
        }
        match (gateway, self.interface) {
            (IpAddr::V6(ip), None) if ip.is_unicast_link_local() => {
                return Err(Refusal::new(Errno::INVAL, "Egress device not specified"));
            }
            (IpAddr::V6(ip), Some(interface)) if ip.is_unicast_link_local() => return Ok(interface),
            _ => {}
        }
        let unreachable = || match gateway {
            IpAddr::V4(_) => Refusal::new(Errno::NETUNREACH, "Nexthop has invalid gateway"),
            IpAddr::V6(_) => Refusal::from(Errno::HOSTUNREACH),
        };
        let found = host.route_towards(gateway, self.interface).map_err(|_| unreachable())?;
        let by_own = is_own(host, gateway);
        match found.kind {
            RouteKind::Local if by_own => owner(host, gateway).ok_or_else(unreachable),
            RouteKind::Unicast if found.gateway.is_none() && found.entry.is_some() => Ok(found.interface),
            RouteKind::Unicast => Err(unreachable()),
            _ => Err(Refusal::new(Errno::INVAL, "Nexthop has invalid gateway")),
        }
    }

    /// Whether a request to delete means this route.
    fn means(&self, route: &RouteEntry) -> bool {
        self.metric.is_none_or(|metric| metric == shown_metric(route))
            && self.interface.is_none_or(|interface| interface == route.interface)
            && self.gateway.is_none_or(|gateway| Some(gateway) == route.gateway)
            && self.source.is_none_or(|source| Some(source) == route.source)
            && (self.protocol == 0 || self.protocol == route.protocol.0)
    }
}

/// The interface that has an address.
fn owner(host: &Host, address: IpAddr) -> Option<InterfaceId> {
    host.interfaces().find(|link| link.addresses.iter().any(|cidr| cidr.address == address)).map(|link| link.id)
}

pub(super) fn is_own(host: &Host, address: IpAddr) -> bool {
    owner(host, address).is_some()
}

pub(super) fn add(host: &mut Host, _now: Instant, request: &Request<'_>) -> Result<(), Refusal> {
    let named = read(host, request)?;
    let new = named.entry(host)?;
    let same_metric = |route: &&RouteEntry| shown_metric(route) == shown_metric(&new);
    let known = host.routes_to(new.destination).iter().find(same_metric).copied();
    match known {
        Some(_) if request.has(libc::NLM_F_EXCL) => Err(Errno::EXIST.into()),
        Some(known) if request.has(libc::NLM_F_REPLACE) => {
            // The place in the order is the old one's.
            let new = RouteEntry { metric: known.metric, ..new };
            if new != known && host.routes_to(new.destination).contains(&new) {
                return Err(Errno::EXIST.into());
            }
            host.replace_route(&known, new).map_err(Refusal::from)
        }
        None if !request.has(libc::NLM_F_CREATE) => Err(Errno::NOENT.into()),
        _ => match host.add_route(new) {
            Err(Error::NetworkDown) => Err(Refusal::new(
                Errno::NETDOWN,
                match new.destination.address {
                    IpAddr::V4(_) => "Device for nexthop is not up",
                    IpAddr::V6(_) => "Nexthop device is not up",
                },
            )),
            result => result.map_err(Refusal::from),
        },
    }
}

pub(super) fn delete(host: &mut Host, _now: Instant, request: &Request<'_>) -> Result<(), Refusal> {
    let named = read(host, request)?;
    let known = host.routes_to(named.destination).iter().find(|route| named.means(route)).copied();
    host.remove_route(&known.ok_or(Errno::SRCH)?).map_err(Refusal::from)
}
