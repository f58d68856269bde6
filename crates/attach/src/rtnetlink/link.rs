//! Links as they are told of: `ip link show`.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkMode, State,
    Stats64, VlanFlags, VlanProtocol as Tag,
};
use rustix::io::Errno;
use wireway_stack::{Host, InterfaceInfo, InterfaceStatistics, Vlan};
use wireway_wire::VlanProtocol;

use super::Refusal;
use super::request::{Attributes, Request, word};
use crate::links;

pub(super) const IFLA_IFNAME: u16 = 3;
const IFLA_ALT_IFNAME: u16 = 53;

/// Bytes of `struct ifinfomsg`: family, padding, type, index, flags, which flags to change.
pub(super) const FIXED: usize = 16;

pub(super) fn all(host: &Host) -> Vec<RouteNetlinkMessage> {
    host.interfaces().map(|link| message(&link)).collect()
}

pub(super) fn one(host: &Host, request: &Request<'_>) -> Result<RouteNetlinkMessage, Refusal> {
    named(host, request.fixed()?, &request.attributes(FIXED)).map(|link| message(&link))
}

/// The link with the index in a request, or with its name.
pub(super) fn named<'a>(
    host: &'a Host,
    fixed: &[u8; FIXED],
    attributes: &Attributes<'_>,
) -> Result<InterfaceInfo<'a>, Refusal> {
    let name = attributes.text(IFLA_IFNAME).or(attributes.text(IFLA_ALT_IFNAME));
    let found = match (word(fixed, 4), name) {
        (0, None) => return Err(Errno::INVAL.into()),
        (0, Some(name)) => links::named(host, name),
        (index, _) => links::with_index(host, index),
    };
    found.ok_or(Errno::NODEV.into())
}

fn message(link: &InterfaceInfo<'_>) -> RouteNetlinkMessage {
    let loopback = links::is_loopback(link);
    let mut message = LinkMessage::default();
    message.header.index = links::index(link.id);
    message.header.link_layer_type = if loopback { LinkLayerType::Loopback } else { LinkLayerType::Ether };
    message.header.flags = LinkFlags::from_bits_retain(links::flags(link));
    message.attributes = vec![
        LinkAttribute::IfName(link.name.to_owned()),
        LinkAttribute::TxQueueLen(links::queue(link)),
        LinkAttribute::OperState(match link.up {
            false => State::Down,
            true if loopback => State::Unknown,
            true => State::Up,
        }),
        LinkAttribute::Mode(LinkMode::Default),
        LinkAttribute::Mtu(link.mtu),
        LinkAttribute::Group(0),
        LinkAttribute::Carrier(link.up.into()),
        LinkAttribute::Qdisc("noqueue".to_owned()),
        LinkAttribute::Address(links::mac(link).to_vec()),
        LinkAttribute::Broadcast(if loopback { vec![0; 6] } else { vec![0xff; 6] }),
        LinkAttribute::Stats64(statistics(&link.statistics)),
    ];
    if let Some(vlan) = link.vlan {
        message.attributes.push(LinkAttribute::Link(links::index(vlan.parent)));
        message.attributes.push(LinkAttribute::LinkInfo(kind(vlan)));
    }
    RouteNetlinkMessage::NewLink(message)
}

fn kind(vlan: Vlan) -> Vec<LinkInfo> {
    let protocol = match vlan.protocol {
        VlanProtocol::Customer => Tag::Ieee8021Q,
        VlanProtocol::Service => Tag::Ieee8021Ad,
    };
    let flags = InfoVlan::Flags((VlanFlags::ReorderHdr, VlanFlags::all()));
    let data = vec![InfoVlan::Protocol(protocol), InfoVlan::Id(vlan.id), flags];
    vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(data))]
}

fn statistics(counted: &InterfaceStatistics) -> Stats64 {
    let mut stats = Stats64::default();
    (stats.rx_packets, stats.rx_bytes, stats.rx_dropped) = (counted.rx_packets, counted.rx_bytes, counted.rx_dropped);
    (stats.tx_packets, stats.tx_bytes, stats.tx_dropped) = (counted.tx_packets, counted.tx_bytes, counted.tx_dropped);
    stats.multicast = counted.multicast;
    stats
}
