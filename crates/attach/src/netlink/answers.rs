//! What netlink answers about the host: its links, addresses, routes and neighbours as rtnetlink messages (rtnetlink(7)).

use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, State};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState as NetlinkState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use wireway_stack::{Host, InterfaceInfo, NeighbourState};

use crate::links;

/// Whether a message about `address` is wanted by a dump for `family` (0: all).
fn is_of(family: u8, address: IpAddr) -> bool {
    family == libc::AF_UNSPEC as u8 || family == if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

pub(super) fn link(link: &InterfaceInfo<'_>) -> RouteNetlinkMessage {
    let loopback = links::is_loopback(link);
    let mut message = LinkMessage::default();
    message.header.index = links::index(link.id);
    message.header.link_layer_type = if loopback { LinkLayerType::Loopback } else { LinkLayerType::Ether };
    message.header.flags = LinkFlags::from_bits_retain(links::flags(link));
    message.attributes = vec![
        LinkAttribute::IfName(link.name.to_owned()),
        LinkAttribute::TxQueueLen(links::queue(link)),
        LinkAttribute::OperState(if loopback { State::Unknown } else { State::Up }),
        LinkAttribute::Mtu(link.mtu),
        LinkAttribute::Carrier(1),
        LinkAttribute::Qdisc("noqueue".to_owned()),
        LinkAttribute::Address(links::mac(link).to_vec()),
        LinkAttribute::Broadcast(if loopback { vec![0; 6] } else { vec![0xff; 6] }),
    ];
    RouteNetlinkMessage::NewLink(message)
}

pub(super) fn addresses(host: &Host, family: u8) -> Vec<RouteNetlinkMessage> {
    let of_link = |link: InterfaceInfo<'_>| {
        let wanted = link.addresses.iter().filter(|cidr| is_of(family, cidr.address));
        wanted.map(|cidr| address(&link, cidr.address, cidr.prefix_len)).collect::<Vec<_>>()
    };
    host.interfaces().flat_map(of_link).collect()
}

fn address(link: &InterfaceInfo<'_>, address: IpAddr, prefix_len: u8) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = prefix_len;
    message.header.flags = AddressHeaderFlags::Permanent;
    message.header.scope = match address {
        _ if links::is_loopback(link) => AddressScope::Host,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => AddressScope::Link,
        _ => AddressScope::Universe,
    };
    message.header.index = links::index(link.id);
    message.attributes = vec![AddressAttribute::Address(address)];
    // IPv6 has neither broadcast nor labels, and names an address twice only on point-to-point links.
    if let IpAddr::V4(v4) = address {
        message.attributes.push(AddressAttribute::Local(address));
        if !links::is_loopback(link) {
            message.attributes.push(AddressAttribute::Broadcast(links::broadcast(v4, prefix_len)));
        }
        message.attributes.push(AddressAttribute::Label(link.name.to_owned()));
    }
    RouteNetlinkMessage::NewAddress(message)
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}

pub(super) fn routes(host: &Host, wanted: u8) -> Vec<RouteNetlinkMessage> {
    let mut routes = host.routes();
    // As the kernel lists them: the default route first.
    routes.sort_by_key(|route| route.destination.prefix_len);
    let of_family = routes.into_iter().filter(|route| is_of(wanted, route.destination.address));
    let message = of_family.map(|route| {
        let network = route.destination.network();
        let mut message = RouteMessage::default();
        message.header.address_family = family(network);
        message.header.destination_prefix_length = route.destination.prefix_len;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        let connected = route.gateway.is_none();
        message.header.protocol = if connected { RouteProtocol::Kernel } else { RouteProtocol::Static };
        // Routes of IPv6 have no scope.
        message.header.scope = if connected && network.is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Oif(links::index(route.interface)));
        if route.destination.prefix_len > 0 {
            message.attributes.push(RouteAttribute::Destination(route_address(network)));
        }
        if let Some(gateway) = route.gateway {
            message.attributes.push(RouteAttribute::Gateway(route_address(gateway)));
        }
        if let Some(source) = route.source.filter(IpAddr::is_ipv4) {
            message.attributes.push(RouteAttribute::PrefSource(route_address(source)));
        }
        if route.metric > 0 {
            message.attributes.push(RouteAttribute::Priority(route.metric));
        }
        RouteNetlinkMessage::NewRoute(message)
    });
    message.collect()
}

pub(super) fn neighbours(host: &Host, wanted: u8) -> Vec<RouteNetlinkMessage> {
    let of_family = host.neighbours().into_iter().filter(|neighbour| is_of(wanted, neighbour.address));
    let message = of_family.map(|neighbour| {
        let mut message = NeighbourMessage::default();
        message.header.family = family(neighbour.address);
        message.header.ifindex = links::index(neighbour.interface);
        message.header.kind = RouteType::Unicast;
        message.header.state = match neighbour.state {
            NeighbourState::Incomplete => NetlinkState::Incomplete,
            NeighbourState::Reachable => NetlinkState::Reachable,
            NeighbourState::Stale => NetlinkState::Stale,
            NeighbourState::Delay => NetlinkState::Delay,
            NeighbourState::Probe => NetlinkState::Probe,
            NeighbourState::Failed => NetlinkState::Failed,
            NeighbourState::Permanent => NetlinkState::Permanent,
        };
        message.attributes.push(NeighbourAttribute::Destination(match neighbour.address {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        }));
        if !matches!(neighbour.state, NeighbourState::Incomplete | NeighbourState::Failed) {
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(neighbour.mac.0.to_vec()));
        }
        RouteNetlinkMessage::NewNeighbour(message)
    });
    message.collect()
}
