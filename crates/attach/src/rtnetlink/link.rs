//! Links: `ip link`.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, State, Stats64};
use rustix::io::Errno;
use wireway_packet::Instant;
use wireway_stack::{Host, InterfaceInfo, InterfaceStatistics};

use super::Refusal;
use super::request::{Attributes, Request, word};
use crate::links;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_ALT_IFNAME: u16 = 53;

/// Bytes of `struct ifinfomsg`: family, padding, type, index, flags, which flags to change.
const FIXED: usize = 16;

pub(super) fn all(host: &Host) -> Vec<RouteNetlinkMessage> {
    host.interfaces().map(|link| message(&link)).collect()
}

pub(super) fn one(host: &Host, request: &Request<'_>) -> Result<RouteNetlinkMessage, Refusal> {
    named(host, request.fixed()?, &request.attributes(FIXED)).map(|link| message(&link))
}

/// The link with the index in a request, or with its name.
fn named<'a>(host: &'a Host, fixed: &[u8; FIXED], attributes: &Attributes<'_>) -> Result<InterfaceInfo<'a>, Refusal> {
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
        LinkAttribute::OperState(if loopback { State::Unknown } else { State::Up }),
        LinkAttribute::Mtu(link.mtu),
        LinkAttribute::Group(0),
        LinkAttribute::Carrier(1),
        LinkAttribute::Qdisc("noqueue".to_owned()),
        LinkAttribute::Address(links::mac(link).to_vec()),
        LinkAttribute::Broadcast(if loopback { vec![0; 6] } else { vec![0xff; 6] }),
        LinkAttribute::Stats64(statistics(&link.statistics)),
    ];
    RouteNetlinkMessage::NewLink(message)
}

fn statistics(counted: &InterfaceStatistics) -> Stats64 {
    let mut stats = Stats64::default();
    (stats.rx_packets, stats.rx_bytes, stats.rx_dropped) = (counted.rx_packets, counted.rx_bytes, counted.rx_dropped);
    (stats.tx_packets, stats.tx_bytes, stats.tx_dropped) = (counted.tx_packets, counted.tx_bytes, counted.tx_dropped);
    stats.multicast = counted.multicast;
    stats
}

/// RTM_NEWLINK and RTM_SETLINK: changes a link, or makes one.
pub(super) fn set(host: &mut Host, _now: Instant, request: &Request<'_>) -> Result<(), Refusal> {
    let fixed: &[u8; FIXED] = request.fixed()?;
    let attributes = request.attributes(FIXED);
    let link = named(host, fixed, &attributes)?;
    let id = link.id;
    if let Some(mtu) = attributes.u32(IFLA_MTU)?.filter(|mtu| *mtu != link.mtu) {
        set_mtu(host, id, mtu)?;
    }
    Ok(())
}

fn set_mtu(host: &mut Host, id: wireway_stack::InterfaceId, mtu: u32) -> Result<(), Refusal> {
    let least = Refusal::new(Errno::INVAL, "mtu less than device minimum");
    if mtu < 68 {
        return Err(least);
    }
    let mtu = u16::try_from(mtu).map_err(|_| Refusal::new(Errno::INVAL, "mtu greater than device maximum"))?;
    host.set_mtu(id, mtu).map_err(Refusal::from)
}

pub(super) fn delete(host: &mut Host, _now: Instant, request: &Request<'_>) -> Result<(), Refusal> {
    let fixed: &[u8; FIXED] = request.fixed()?;
    named(host, fixed, &request.attributes(FIXED))?;
    Err(Errno::OPNOTSUPP.into())
}
