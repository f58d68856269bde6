//! ioctl(2) requests that change interfaces, routes and neighbours, as `ifconfig`, `route` and `arp` make them (netdevice(7), rtnetlink(7), arp(7)).
//!
//! Each says in an older form what rtnetlink says too, and is carried out as such a message.

use std::net::{IpAddr, Ipv4Addr};

use rustix::io::Errno;
use wireway_engine::Context;
use wireway_stack::{Host, NeighbourState};

use crate::links;
use crate::process::Memory;
use crate::rtnetlink::{self, Message};

// linux/sockios.h
const SIOCADDRT: u32 = 0x890b;
const SIOCDELRT: u32 = 0x890c;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCSIFADDR: u32 = 0x8916;
const SIOCSIFDSTADDR: u32 = 0x8918;
const SIOCSIFBRDADDR: u32 = 0x891a;
const SIOCSIFNETMASK: u32 = 0x891c;
const SIOCSIFMETRIC: u32 = 0x891e;
const SIOCSIFMTU: u32 = 0x8922;
const SIOCSIFNAME: u32 = 0x8923;
const SIOCSIFHWADDR: u32 = 0x8924;
const SIOCDIFADDR: u32 = 0x8936;
const SIOCSIFTXQLEN: u32 = 0x8943;
const SIOCDARP: u32 = 0x8953;
const SIOCGARP: u32 = 0x8954;
const SIOCSARP: u32 = 0x8955;

/// Requests of this file. SIOCGARP is here with the others about neighbours.
const ALL: [u32; 16] = [
    SIOCADDRT,
    SIOCDELRT,
    SIOCSIFFLAGS,
    SIOCSIFADDR,
    SIOCSIFDSTADDR,
    SIOCSIFBRDADDR,
    SIOCSIFNETMASK,
    SIOCSIFMETRIC,
    SIOCSIFMTU,
    SIOCSIFNAME,
    SIOCSIFHWADDR,
    SIOCDIFADDR,
    SIOCSIFTXQLEN,
    SIOCDARP,
    SIOCGARP,
    SIOCSARP,
];

pub(super) fn is_one(request: u32) -> bool {
    ALL.contains(&request)
}

/// Carries out the request whose argument is at `at`, on a socket of `family`.
pub(super) fn change(cx: &mut Context<'_>, memory: Memory, at: u64, request: u32, family: i32) -> Result<(), Errno> {
    match (request, family) {
        (SIOCADDRT | SIOCDELRT, libc::AF_INET6) => route_v6(cx, &memory.read_array(at)?, request == SIOCADDRT),
        (SIOCADDRT | SIOCDELRT, _) => route_v4(cx, memory, &memory.read_array(at)?, request == SIOCADDRT),
        (SIOCSIFADDR | SIOCDIFADDR, libc::AF_INET6) => address_v6(cx, &memory.read_array(at)?, request == SIOCSIFADDR),
        (SIOCSARP | SIOCDARP | SIOCGARP, _) => neighbour(cx, memory, at, request),
        _ => interface(cx, &memory.read_array(at)?, request),
    }
}

fn word(raw: &[u8], at: usize) -> u32 {
    raw.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn half(raw: &[u8], at: usize) -> i32 {
    raw.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes).into()
}

/// The name in a field of 16 bytes; of an alias (`eth0:1`) EOPNOTSUPP.
fn name(raw: &[u8]) -> Result<&[u8], Errno> {
    let name = raw.split(|b| *b == 0).next().unwrap_or_default();
    if name.contains(&b':') { Err(Errno::OPNOTSUPP) } else { Ok(name) }
}

/// The `struct sockaddr_in` at an offset. EAFNOSUPPORT, EINVAL for another one.
fn address_at(raw: &[u8], at: usize) -> Result<Ipv4Addr, Errno> {
    match (half(raw, at), raw.get(at + 4..at + 8).and_then(|b| b.first_chunk::<4>())) {
        (libc::AF_INET, Some(octets)) => Ok(Ipv4Addr::from(*octets)),
        _ => Err(Errno::AFNOSUPPORT),
    }
}

/// The bits of a mask. EINVAL for one with holes.
fn length_of(mask: Ipv4Addr) -> Result<u8, Errno> {
    let bits = mask.to_bits();
    if bits.count_zeros() == bits.trailing_zeros() { Ok(bits.leading_ones() as u8) } else { Err(Errno::INVAL) }
}

/// The bits of a network of classes (RFC 791 §3.2), as `ifconfig` without a mask has it.
fn class_of(address: Ipv4Addr) -> Result<u8, Errno> {
    match address.octets()[0] {
        0 => Ok(0),
        1..=127 => Ok(8),
        128..=191 => Ok(16),
        192..=223 => Ok(24),
        _ => Err(Errno::INVAL),
    }
}

/// Requests with a `struct ifreq`: a name, and what it is to be.
fn interface(cx: &mut Context<'_>, raw: &[u8; 40], request: u32) -> Result<(), Errno> {
    let link = links::named(cx.host, name(raw.get(..16).unwrap_or_default())?).ok_or(Errno::NODEV)?;
    let index = links::index(link.id);
    let v4 = links::v4(&link);
    let mut links = |message: Message| rtnetlink::change(cx.host, cx.now, &message);
    let set = |flags, change| Message::link(libc::RTM_SETLINK, index, flags, change);
    match request {
        SIOCSIFFLAGS => links(set(half(raw, 16) as u32, 0xffff)),
        SIOCSIFMTU => links(set(0, 0).attribute(libc::IFLA_MTU, &word(raw, 16).to_ne_bytes())),
        SIOCSIFTXQLEN => links(set(0, 0).attribute(libc::IFLA_TXQLEN, &word(raw, 16).to_ne_bytes())),
        SIOCSIFHWADDR if half(raw, 16) != i32::from(libc::ARPHRD_ETHER) => Err(Errno::INVAL),
        SIOCSIFHWADDR => links(set(0, 0).attribute(libc::IFLA_ADDRESS, raw.get(18..24).unwrap_or_default())),
        SIOCSIFADDR => {
            let new = address_at(raw, 16)?;
            let prefix_len = class_of(new)?;
            let old = v4.filter(|(old, _)| *old != new);
            if v4.is_some() && old.is_none() {
                return Ok(());
            }
            if let Some((old, prefix_len)) = old {
                links(Message::address(libc::RTM_DELADDR, index, old.into(), prefix_len))?;
            }
            if new.is_unspecified() {
                return Ok(());
            }
            links(Message::address(libc::RTM_NEWADDR, index, new.into(), prefix_len))
        }
        SIOCSIFNETMASK => {
            let (address, old) = v4.ok_or(Errno::ADDRNOTAVAIL)?;
            let prefix_len = length_of(address_at(raw, 16)?)?;
            if prefix_len == old {
                return Ok(());
            }
            links(Message::address(libc::RTM_DELADDR, index, address.into(), old))?;
            links(Message::address(libc::RTM_NEWADDR, index, address.into(), prefix_len))
        }
        SIOCSIFBRDADDR => {
            let (address, prefix_len) = v4.ok_or(Errno::ADDRNOTAVAIL)?;
            let asked = address_at(raw, 16)?;
            let right = asked.is_unspecified() || asked == links::broadcast(address, prefix_len);
            if right { Ok(()) } else { Err(Errno::OPNOTSUPP) }
        }
        _ => Err(Errno::OPNOTSUPP),
    }
}

/// `struct in6_ifreq`: an address, the length of its prefix, an index.
fn address_v6(cx: &mut Context<'_>, raw: &[u8; 24], add: bool) -> Result<(), Errno> {
    let address: [u8; 16] = raw.first_chunk().copied().unwrap_or_default();
    let prefix_len = u8::try_from(word(raw, 16)).map_err(|_| Errno::INVAL)?;
    let kind = if add { libc::RTM_NEWADDR } else { libc::RTM_DELADDR };
    let message = Message::address(kind, word(raw, 20), IpAddr::from(address), prefix_len);
    rtnetlink::change(cx.host, cx.now, &message)
}

const RTF_GATEWAY: i32 = 2;
const RTF_HOST: i32 = 4;
const RTF_MTU: i32 = 0x40;
const RTF_REJECT: i32 = 0x200;

/// `struct rtentry`: destination at 8, gateway at 24, mask at 40, flags at 56, metric at 80, the device's name's address at 88, MTU at 96.
fn route_v4(cx: &mut Context<'_>, memory: Memory, raw: &[u8; 120], add: bool) -> Result<(), Errno> {
    let flags = half(raw, 56);
    let destination = address_at(raw, 8)?;
    let prefix_len = match flags & RTF_HOST {
        0 if half(raw, 40) == 0 && word(raw, 44) == 0 => 0,
        0 => length_of(address_at(raw, 40)?)?,
        _ => 32,
    };
    if flags & RTF_REJECT != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    let mut message = Message::route(add, destination.into(), prefix_len);
    if half(raw, 80) > 1 {
        message = message.attribute(libc::RTA_PRIORITY, &(half(raw, 80) as u32 - 1).to_ne_bytes());
    }
    let device = raw.get(88..96).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
    if device != 0 {
        // Up to 15 bytes, byte by byte: they may end where memory does.
        let mut text = [0u8; 16];
        for (place, byte) in text.iter_mut().take(15).enumerate() {
            [*byte] = memory.read_array(device.wrapping_add(place as u64))?;
            if *byte == 0 {
                break;
            }
        }
        let link = links::named(cx.host, name(&text)?).ok_or(Errno::NODEV)?;
        message = message.attribute(libc::RTA_OIF, &links::index(link.id).to_ne_bytes());
    }
    match address_at(raw, 24) {
        Ok(gateway) if !gateway.is_unspecified() => {
            message = message.attribute(libc::RTA_GATEWAY, &gateway.octets());
        }
        _ if add && flags & RTF_GATEWAY != 0 => return Err(Errno::INVAL),
        _ => {}
    }
    if add && flags & RTF_MTU != 0 {
        message = message.mtu(word(raw, 96).saturating_sub(40));
    }
    rtnetlink::change(cx.host, cx.now, &message)
}

/// `struct in6_rtmsg`: destination, source and gateway, the lengths of the first two at 52 and 54, metric at 56, flags at 72, index at 76.
fn route_v6(cx: &mut Context<'_>, raw: &[u8; 80], add: bool) -> Result<(), Errno> {
    let address = |at: usize| raw.get(at..at + 16).and_then(|b| b.first_chunk::<16>()).copied().unwrap_or_default();
    let flags = word(raw, 72) as i32;
    if half(raw, 54) != 0 || flags & RTF_REJECT != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    let prefix_len = u8::try_from(half(raw, 52)).map_err(|_| Errno::INVAL)?;
    let mut message = Message::route(add, IpAddr::from(address(0)), prefix_len);
    if word(raw, 56) > 0 {
        message = message.attribute(libc::RTA_PRIORITY, raw.get(56..60).unwrap_or_default());
    }
    if word(raw, 76) > 0 {
        message = message.attribute(libc::RTA_OIF, raw.get(76..80).unwrap_or_default());
    }
    if flags & RTF_GATEWAY != 0 {
        message = message.attribute(libc::RTA_GATEWAY, &address(32));
    }
    rtnetlink::change(cx.host, cx.now, &message)
}

/// `struct arpreq`: protocol address, hardware address at 16, flags at 32, mask at 36, the device's name at 52.
fn neighbour(cx: &mut Context<'_>, memory: Memory, at: u64, request: u32) -> Result<(), Errno> {
    const ATF_COM: u32 = 2;
    const ATF_PERM: u32 = 4;
    const ATF_PUBL: u32 = 8;
    const ATF_NETMASK: u32 = 0x20;
    const ATF_DONTPUB: u32 = 0x40;
    let raw: [u8; 68] = memory.read_array(at)?;
    let address = address_at(&raw, 0).map_err(|_| Errno::PFNOSUPPORT)?;
    let flags = word(&raw, 32);
    if flags & ATF_PUBL == 0 && flags & (ATF_NETMASK | ATF_DONTPUB) != 0 {
        return Err(Errno::INVAL);
    }
    let device = name(raw.get(52..).unwrap_or_default())?;
    let id = match device {
        [] if request == SIOCGARP => return Err(Errno::NODEV),
        [] => cx.host.route_towards(address.into(), None).map_err(|_| Errno::NETUNREACH)?.interface,
        name => links::named(cx.host, name).ok_or(Errno::NODEV)?.id,
    };
    // There are no neighbours that this host answers for.
    if flags & ATF_PUBL != 0 {
        return Err(if request == SIOCSARP { Errno::OPNOTSUPP } else { Errno::NXIO });
    }
    let find = |host: &Host| {
        host.neighbours().into_iter().find(|n| (n.interface, n.address) == (id, IpAddr::V4(address))).ok_or(Errno::NXIO)
    };
    match request {
        SIOCGARP => {
            let known = find(cx.host)?;
            let mut found = [0u8; 20];
            let state = match known.state {
                NeighbourState::Permanent => ATF_PERM | ATF_COM,
                NeighbourState::Incomplete | NeighbourState::Failed => 0,
                _ => ATF_COM,
            };
            let [kind, _, mac @ ..] = &mut found;
            *kind = libc::ARPHRD_ETHER as u8;
            mac.iter_mut().zip(known.mac.0).for_each(|(to, from)| *to = from);
            if let Some(end) = found.last_chunk_mut() {
                *end = state.to_ne_bytes();
            }
            memory.write(at.wrapping_add(16), &found)
        }
        SIOCDARP => {
            find(cx.host)?;
            rtnetlink::change(
                cx.host,
                cx.now,
                &Message::neighbour(libc::RTM_DELNEIGH, links::index(id), address.into()),
            )
        }
        _ if half(&raw, 16) != i32::from(libc::ARPHRD_ETHER) => Err(Errno::INVAL),
        _ if flags & ATF_PERM == 0 => Err(Errno::OPNOTSUPP),
        _ => {
            let message = Message::neighbour(libc::RTM_NEWNEIGH, links::index(id), address.into());
            let mac = raw.get(18..24).unwrap_or_default();
            rtnetlink::change(cx.host, cx.now, &message.attribute(libc::NDA_LLADDR, mac))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_and_classes() {
        assert_eq!(length_of(Ipv4Addr::new(255, 255, 240, 0)), Ok(20));
        assert_eq!(length_of(Ipv4Addr::UNSPECIFIED), Ok(0));
        assert_eq!(length_of(Ipv4Addr::BROADCAST), Ok(32));
        assert_eq!(length_of(Ipv4Addr::new(255, 0, 255, 0)), Err(Errno::INVAL));
        assert_eq!(class_of(Ipv4Addr::new(10, 0, 0, 1)), Ok(8));
        assert_eq!(class_of(Ipv4Addr::new(172, 16, 0, 1)), Ok(16));
        assert_eq!(class_of(Ipv4Addr::new(224, 0, 0, 1)), Err(Errno::INVAL));
    }

    #[test]
    fn aliases_are_refused() {
        assert_eq!(name(b"eth0\0\0\0"), Ok(&b"eth0"[..]));
        assert_eq!(name(b"eth0:1\0"), Err(Errno::OPNOTSUPP));
    }
}
