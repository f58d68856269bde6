//! Neighbours: `ip neigh`.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState as NetlinkState,
};
use netlink_packet_route::route::RouteType;
use rustix::io::Errno;
use wireway_packet::Instant;
use wireway_stack::{Host, InterfaceId, NeighbourInfo, NeighbourState};
use wireway_wire::MacAddr;

use super::request::{Request, word};
use super::{Refusal, address_family, is_of};
use crate::links;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_PROXY: u8 = 8;

pub(super) fn all(host: &Host, wanted: u8) -> Vec<RouteNetlinkMessage> {
    let of_family = host.neighbours().into_iter().filter(|neighbour| is_of(wanted, neighbour.address));
    of_family.map(|neighbour| message(&neighbour)).collect()
}

fn message(neighbour: &NeighbourInfo) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = address_family(neighbour.address);
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
}

/// What a request names.
struct Named {
    interface: InterfaceId,
    address: IpAddr,
    mac: Option<MacAddr>,
    state: u16,
    known: Option<NeighbourInfo>,
}

/// `struct ndmsg`: family, padding, index, state, flags, type.
fn read(host: &Host, request: &Request<'_>) -> Result<Named, Refusal> {
    let fixed: &[u8; 12] = request.fixed()?;
    let attributes = request.attributes(fixed.len());
    if i32::from(request.family()) == libc::AF_BRIDGE || fixed[10] & NDA_PROXY != 0 {
        return Err(Refusal::unsupported("Only neighbours of IPv4 and IPv6 are supported"));
    }
    if !attributes.has(NDA_DST) {
        return Err(Refusal::new(Errno::INVAL, "Network address not specified"));
    }
    let family = i32::from(request.family());
    if ![libc::AF_INET, libc::AF_INET6].contains(&family) {
        return Err(Errno::AFNOSUPPORT.into());
    }
    let address = attributes.address(NDA_DST, family)?.ok_or(Errno::INVAL)?;
    let link = links::with_index(host, word(fixed, 4)).ok_or(Errno::NODEV)?;
    let mac = match attributes.get(NDA_LLADDR).map(|raw| (raw.first_chunk(), raw.len())) {
        None => None,
        Some((Some(mac), 6)) => Some(MacAddr(*mac)),
        Some(_) => return Err(Refusal::new(Errno::INVAL, "Invalid link address")),
    };
    let known = host.neighbours().into_iter().find(|known| (known.interface, known.address) == (link.id, address));
    Ok(Named { interface: link.id, address, mac, state: word(fixed, 8) as u16, known })
}

pub(super) fn add(host: &mut Host, now: Instant, request: &Request<'_>) -> Result<(), Refusal> {
    const PERMANENT: u16 = 0x80;
    let named = read(host, request)?;
    match named.known {
        None if !request.has(libc::NLM_F_CREATE) => return Err(Errno::NOENT.into()),
        Some(_) if request.has(libc::NLM_F_EXCL) => return Err(Errno::EXIST.into()),
        // As neigh_update() does without NLM_F_REPLACE.
        Some(known) if !request.has(libc::NLM_F_REPLACE) && named.mac.is_some_and(|mac| mac != known.mac) => {
            return Err(Errno::EXIST.into());
        }
        _ => {}
    }
    let mac = named.mac.or(named.known.map(|known| known.mac));
    let mac = mac.ok_or(Refusal::new(Errno::INVAL, "No link layer address given"))?;
    if named.state & PERMANENT == 0 {
        return Err(Refusal::unsupported("Only permanent neighbours can be made"));
    }
    if links::named(host, b"lo").is_some_and(|lo| lo.id == named.interface) {
        return Err(Errno::INVAL.into());
    }
    host.set_neighbour(now, named.interface, named.address, Some(mac)).map_err(Refusal::from)
}

pub(super) fn delete(host: &mut Host, now: Instant, request: &Request<'_>) -> Result<(), Refusal> {
    let named = read(host, request)?;
    named.known.ok_or(Errno::NOENT)?;
    host.set_neighbour(now, named.interface, named.address, None).map_err(Refusal::from)
}

pub(super) fn one(host: &Host, request: &Request<'_>) -> Result<RouteNetlinkMessage, Refusal> {
    let named = read(host, request)?;
    let known = named.known.ok_or(Refusal::new(Errno::NOENT, "Neighbour entry not found"))?;
    Ok(message(&known))
}
