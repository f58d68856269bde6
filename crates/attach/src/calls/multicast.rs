//! The options of multicast (ip(7), ipv6(7), RFC 3493 §5.2, RFC 3678), each checked in the order in which Linux does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;
use wireway_engine::Context;
use wireway_stack::{Domain, FilterMode, Host, InterfaceId, Membership, SocketId, SocketOption};

use super::options::{int, int_or_byte};
use super::{Call, Outcome, socket_at};
use crate::process::Memory;
use crate::socket::{Body, Key, errno};
use crate::world::World;
use crate::{links, sockaddr};

// linux/in.h, linux/in6.h
const IP_MSFILTER: i32 = 41;
const MCAST_JOIN_GROUP: i32 = 42;
const MCAST_BLOCK_SOURCE: i32 = 43;
const MCAST_UNBLOCK_SOURCE: i32 = 44;
const MCAST_LEAVE_GROUP: i32 = 45;
const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
const MCAST_LEAVE_SOURCE_GROUP: i32 = 47;
const MCAST_MSFILTER: i32 = 48;
const IP_MULTICAST_ALL: i32 = 49;
const IPV6_MULTICAST_ALL: i32 = 29;

// Lengths and places in structures: group_req, group_source_req, group_filter and ip_msfilter.
const ADDRESS: usize = sockaddr::LONGEST;
const GROUP_AT: usize = 8;
const SOURCE_AT: usize = GROUP_AT + ADDRESS;
const GROUP_REQ: usize = SOURCE_AT;
const GROUP_SOURCE_REQ: usize = SOURCE_AT + ADDRESS;
const GROUP_FILTER: usize = SOURCE_AT + 8;
const IP_FILTER: usize = 16;

/// net.core.optmem_max
const LONGEST: usize = 131_072;

/// Whether an option is one of these.
pub(super) fn is_one(level: i32, name: i32) -> bool {
    match level {
        libc::IPPROTO_IP => (libc::IP_MULTICAST_IF..=IP_MULTICAST_ALL).contains(&name),
        libc::IPPROTO_IPV6 => {
            (libc::IPV6_MULTICAST_IF..=libc::IPV6_DROP_MEMBERSHIP).contains(&name)
                || (MCAST_JOIN_GROUP..=MCAST_MSFILTER).contains(&name)
                || name == IPV6_MULTICAST_ALL
        }
        _ => false,
    }
}

/// The socket, and the family that the option is of; or the error of a socket that has no such options.
fn socket_of(w: &mut World, key: Key, level: i32, name: i32) -> Result<(SocketId, Domain), Errno> {
    let socket = socket_at(w, key)?;
    let v6 = level == libc::IPPROTO_IPV6;
    let raw = socket.kind == libc::SOCK_RAW;
    if v6 && !socket.is_v6() || !v6 && socket.is_v6() && raw {
        return Err(Errno::NOPROTOOPT);
    }
    let id = socket.id.ok_or(Errno::NOPROTOOPT)?;
    if matches!(socket.body, Body::Datagrams(_)) {
        return Ok((id, if v6 { Domain::Inet6 } else { Domain::Inet }));
    }
    Err(match name {
        libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP if !v6 => Errno::PROTO,
        libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP if v6 => Errno::PROTO,
        libc::IP_MULTICAST_IF | libc::IP_MULTICAST_TTL if !v6 => Errno::INVAL,
        _ => Errno::NOPROTOOPT,
    })
}

pub(super) fn set(
    w: &mut World,
    cx: &mut Context<'_>,
    call: &Call,
    key: Key,
    level: i32,
    name: i32,
) -> Result<Outcome, Errno> {
    let (id, family) = socket_of(w, key, level, name)?;
    let length = usize::try_from(call.int(4)).map_err(|_| Errno::INVAL)?;
    let filter = matches!(name, MCAST_MSFILTER) || (name == IP_MSFILTER && family == Domain::Inet);
    if filter && length > LONGEST {
        return Err(Errno::NOBUFS);
    }
    let mut value = vec![0; length.min(if filter { LONGEST } else { GROUP_SOURCE_REQ })];
    call.memory().read(call.argument(3), &mut value)?;
    if filter {
        let wanted = match name {
            IP_MSFILTER => Filter::of_v4(cx.host, &value)?,
            _ => Filter::of(&value, family)?,
        };
        let Filter { group, interface, mode, sources } = wanted;
        cx.host.set_source_filter(cx.now, id, group, interface, mode, &sources).map_err(errno)?;
        return Ok(Outcome::Done(Ok(0)));
    }
    let mut set = |option| cx.host.set_option(cx.now, id, option).map_err(errno);
    match (family, name) {
        (Domain::Inet, libc::IP_MULTICAST_IF) => {
            let (interface, source) = outgoing(cx.host, &value)?;
            let mut set = |option| cx.host.set_option(cx.now, id, option).map_err(errno);
            set(SocketOption::MulticastInterface(family, interface))?;
            set(SocketOption::MulticastSource(source))?;
        }
        (Domain::Inet6, libc::IPV6_MULTICAST_IF) => {
            set(SocketOption::MulticastInterface(family, with_index(int(&value)? as u32)))?;
        }
        (Domain::Inet, libc::IP_MULTICAST_TTL) => {
            set(SocketOption::MulticastHops(family, hops(int_or_byte(&value)?)?))?
        }
        (Domain::Inet6, libc::IPV6_MULTICAST_HOPS) => set(SocketOption::MulticastHops(family, hops(int(&value)?)?))?,
        (Domain::Inet, libc::IP_MULTICAST_LOOP) => {
            set(SocketOption::MulticastLoop(family, int_or_byte(&value)? != 0))?;
        }
        (Domain::Inet6, libc::IPV6_MULTICAST_LOOP) => set(SocketOption::MulticastLoop(family, truth(int(&value)?)?))?,
        (Domain::Inet, IP_MULTICAST_ALL) => set(SocketOption::MulticastAll(family, truth(int_or_byte(&value)?)?))?,
        (Domain::Inet6, IPV6_MULTICAST_ALL) => set(SocketOption::MulticastAll(family, int(&value)? != 0))?,
        _ => {
            let option = change(cx.host, family, name, &value)?;
            cx.host.set_option(cx.now, id, option).map_err(errno)?;
        }
    }
    w.run_soon(key);
    Ok(Outcome::Done(Ok(0)))
}

fn hops(value: i32) -> Result<u8, Errno> {
    if value == -1 { Ok(1) } else { u8::try_from(value).map_err(|_| Errno::INVAL) }
}

fn truth(value: i32) -> Result<bool, Errno> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::INVAL),
    }
}

/// The value of IP_MULTICAST_IF: an `in_addr`, `ip_mreq` or `ip_mreqn`.
fn outgoing(host: &Host, value: &[u8]) -> Result<(Option<InterfaceId>, Option<Ipv4Addr>), Errno> {
    let (address, index) = match value.len() {
        ..4 => return Err(Errno::INVAL),
        4..8 => (v4_at(value, 0)?, 0),
        8..12 => (v4_at(value, 4)?, 0),
        _ => (v4_at(value, 4)?, word_at(value, 8)?),
    };
    let source = Some(address).filter(|address| !address.is_unspecified());
    let interface = match (index, source) {
        (0, None) => None,
        (0, Some(address)) => Some(with_address(host, address).ok_or(Errno::ADDRNOTAVAIL)?),
        (index, _) => with_index(index),
    };
    Ok((interface, source))
}

/// The options that join, leave, block and unblock.
fn change(host: &Host, family: Domain, name: i32, value: &[u8]) -> Result<SocketOption, Errno> {
    let v4 = family == Domain::Inet;
    Ok(match name {
        libc::IP_ADD_MEMBERSHIP if v4 => SocketOption::JoinGroup(mreq(host, value, false)?),
        libc::IP_DROP_MEMBERSHIP if v4 => SocketOption::LeaveGroup(mreq(host, value, true)?),
        libc::IP_ADD_SOURCE_MEMBERSHIP if v4 => SocketOption::JoinGroup(mreq_source(host, value)?),
        libc::IP_DROP_SOURCE_MEMBERSHIP if v4 => SocketOption::LeaveGroup(mreq_source(host, value)?),
        libc::IP_BLOCK_SOURCE if v4 => SocketOption::BlockSource(mreq_source(host, value)?),
        libc::IP_UNBLOCK_SOURCE if v4 => SocketOption::UnblockSource(mreq_source(host, value)?),
        libc::IPV6_ADD_MEMBERSHIP if !v4 => SocketOption::JoinGroup(mreq_v6(value)?),
        libc::IPV6_DROP_MEMBERSHIP if !v4 => SocketOption::LeaveGroup(mreq_v6(value)?),
        MCAST_JOIN_GROUP => SocketOption::JoinGroup(group_req(value, family)?),
        MCAST_LEAVE_GROUP => SocketOption::LeaveGroup(group_req(value, family)?),
        MCAST_JOIN_SOURCE_GROUP => SocketOption::JoinGroup(group_source_req(value, family)?),
        MCAST_LEAVE_SOURCE_GROUP => SocketOption::LeaveGroup(group_source_req(value, family)?),
        MCAST_BLOCK_SOURCE => SocketOption::BlockSource(group_source_req(value, family)?),
        MCAST_UNBLOCK_SOURCE => SocketOption::UnblockSource(group_source_req(value, family)?),
        _ => return Err(Errno::NOPROTOOPT),
    })
}

/// `ip_mreq` or `ip_mreqn`. To leave, the interface need not be there.
fn mreq(host: &Host, value: &[u8], leave: bool) -> Result<Membership, Errno> {
    let (group, address) = (v4_at(value, 0)?, v4_at(value, 4)?);
    if !leave && !group.is_multicast() {
        return Err(Errno::INVAL);
    }
    let missing = if leave { Errno::ADDRNOTAVAIL } else { Errno::NODEV };
    let index = word_at(value, 8).unwrap_or(0);
    let interface = match (index, address.is_unspecified()) {
        (0, true) => None,
        (0, false) => Some(with_address(host, address).ok_or(missing)?),
        (index, _) => with_index(index),
    };
    Ok(Membership { group: group.into(), interface, source: None })
}

/// `ip_mreq_source`
fn mreq_source(host: &Host, value: &[u8]) -> Result<Membership, Errno> {
    if value.len() != 12 {
        return Err(Errno::INVAL);
    }
    let (group, address, source) = (v4_at(value, 0)?, v4_at(value, 4)?, v4_at(value, 8)?);
    if !group.is_multicast() {
        return Err(Errno::INVAL);
    }
    let interface = match address.is_unspecified() {
        true => None,
        false => Some(with_address(host, address).ok_or(Errno::NODEV)?),
    };
    Ok(Membership { group: group.into(), interface, source: Some(source.into()) })
}

/// `ipv6_mreq`
fn mreq_v6(value: &[u8]) -> Result<Membership, Errno> {
    let group = value.first_chunk::<16>().ok_or(Errno::INVAL)?;
    Ok(Membership { group: Ipv6Addr::from(*group).into(), interface: with_index(word_at(value, 16)?), source: None })
}

fn group_req(value: &[u8], family: Domain) -> Result<Membership, Errno> {
    if value.len() < GROUP_REQ {
        return Err(Errno::INVAL);
    }
    let other = if family == Domain::Inet { Errno::INVAL } else { Errno::ADDRNOTAVAIL };
    let group = address_at(value, GROUP_AT, family).ok_or(other)?;
    Ok(Membership { group, interface: with_index(word_at(value, 0)?), source: None })
}

fn group_source_req(value: &[u8], family: Domain) -> Result<Membership, Errno> {
    if value.len() < GROUP_SOURCE_REQ {
        return Err(Errno::INVAL);
    }
    let group = address_at(value, GROUP_AT, family).ok_or(Errno::ADDRNOTAVAIL)?;
    let source = address_at(value, SOURCE_AT, family).ok_or(Errno::ADDRNOTAVAIL)?;
    Ok(Membership { group, interface: with_index(word_at(value, 0)?), source: Some(source) })
}

/// A filter to be set as a whole.
struct Filter {
    group: IpAddr,
    interface: Option<InterfaceId>,
    mode: FilterMode,
    sources: Vec<IpAddr>,
}

impl Filter {
    /// `ip_msfilter`
    fn of_v4(host: &Host, value: &[u8]) -> Result<Filter, Errno> {
        if value.len() < IP_FILTER {
            return Err(Errno::INVAL);
        }
        let count = word_at(value, 12)? as usize;
        if count > host.settings().igmp_max_msf {
            return Err(Errno::NOBUFS);
        }
        let list = value.get(IP_FILTER..IP_FILTER + 4 * count).ok_or(Errno::INVAL)?;
        let (group, address, mode) = (v4_at(value, 0)?, v4_at(value, 4)?, mode(word_at(value, 8)?));
        if !group.is_multicast() {
            return Err(Errno::INVAL);
        }
        let interface = match address.is_unspecified() {
            true => None,
            false => Some(with_address(host, address).ok_or(Errno::NODEV)?),
        };
        let sources = list.chunks_exact(4).map(|raw| v4_at(raw, 0).map(IpAddr::V4)).collect::<Result<_, _>>()?;
        Ok(Filter { group: group.into(), interface, mode: mode?, sources })
    }

    /// `group_filter`
    fn of(value: &[u8], family: Domain) -> Result<Filter, Errno> {
        if value.len() < GROUP_FILTER {
            return Err(Errno::INVAL);
        }
        let count = word_at(value, SOURCE_AT + 4)? as usize;
        // The limits, of which the host knows the exact ones, come before the length.
        if count > 64 || family == Domain::Inet && count > 10 {
            return Err(Errno::NOBUFS);
        }
        let list = value.get(GROUP_FILTER..GROUP_FILTER + ADDRESS * count).ok_or(Errno::INVAL)?;
        let group = address_at(value, GROUP_AT, family).ok_or(Errno::ADDRNOTAVAIL)?;
        let sources = list.chunks_exact(ADDRESS).map(|raw| address_at(raw, 0, family).ok_or(Errno::ADDRNOTAVAIL));
        let sources = sources.collect::<Result<_, _>>()?;
        let mode = mode(word_at(value, SOURCE_AT)?)?;
        Ok(Filter { group, interface: with_index(word_at(value, 0)?), mode, sources })
    }
}

fn mode(value: u32) -> Result<FilterMode, Errno> {
    match value {
        0 => Ok(FilterMode::Exclude),
        1 => Ok(FilterMode::Include),
        _ => Err(Errno::INVAL),
    }
}

/// The place and the room that getsockopt is given.
struct Room {
    memory: Memory,
    address: u64,
    length_at: u64,
    length: usize,
}

impl Room {
    fn write(&self, value: &[u8]) -> Result<Outcome, Errno> {
        self.memory.write(self.address, value)?;
        self.memory.write_u32(self.length_at, value.len() as u32)?;
        Ok(Outcome::Done(Ok(0)))
    }
}

pub(super) fn get(
    w: &mut World,
    cx: &mut Context<'_>,
    call: &Call,
    key: Key,
    level: i32,
    name: i32,
) -> Result<Outcome, Errno> {
    let (id, family) = socket_of(w, key, level, name)?;
    let length = call.memory().read_u32(call.argument(4))? as i32;
    let length = usize::try_from(length).map_err(|_| Errno::INVAL)?;
    let room = Room { memory: call.memory(), address: call.argument(3), length_at: call.argument(4), length };
    let options = cx.host.multicast(id, family).map_err(errno)?;
    let value = match (family, name) {
        (Domain::Inet, IP_MSFILTER) => return get_v4_filter(cx, id, &room),
        (_, MCAST_MSFILTER) => return get_filter(cx, id, family, &room),
        (Domain::Inet, libc::IP_MULTICAST_IF) => {
            let source = options.source.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
            return room.write(source.get(..length.min(4)).unwrap_or_default());
        }
        (Domain::Inet6, libc::IPV6_MULTICAST_IF) => options.interface.map_or(0, |id| links::index(id) as i32),
        (Domain::Inet, libc::IP_MULTICAST_TTL) | (Domain::Inet6, libc::IPV6_MULTICAST_HOPS) => options.hops.into(),
        (Domain::Inet, libc::IP_MULTICAST_LOOP) | (Domain::Inet6, libc::IPV6_MULTICAST_LOOP) => options.loops.into(),
        (Domain::Inet, IP_MULTICAST_ALL) | (Domain::Inet6, IPV6_MULTICAST_ALL) => options.all.into(),
        _ => return Err(Errno::NOPROTOOPT),
    };
    // As Linux's do_ip_getsockopt: a small number fits a byte.
    match (value.to_ne_bytes(), length) {
        ([byte, ..], 1..4) if family == Domain::Inet => room.write(&[byte]),
        (bytes, _) => room.write(bytes.get(..length.min(4)).unwrap_or_default()),
    }
}

fn get_v4_filter(cx: &mut Context<'_>, id: SocketId, room: &Room) -> Result<Outcome, Errno> {
    if room.length < IP_FILTER {
        return Err(Errno::INVAL);
    }
    let mut head = [0; IP_FILTER];
    room.memory.read(room.address, &mut head)?;
    let (group, address, count) = (v4_at(&head, 0)?, v4_at(&head, 4)?, word_at(&head, 12)? as usize);
    if !group.is_multicast() {
        return Err(Errno::INVAL);
    }
    let interface = match address.is_unspecified() {
        true => None,
        false => Some(with_address(cx.host, address).ok_or(Errno::NODEV)?),
    };
    let (mode, sources) = cx.host.source_filter(id, group.into(), interface).map_err(errno)?;
    let mut value = head.to_vec();
    put(&mut value, 8, mode_word(mode));
    put(&mut value, 12, sources.len() as u32);
    for source in sources.iter().take(count) {
        if let IpAddr::V4(source) = source {
            value.extend_from_slice(&source.octets());
        }
    }
    room.write(&value)
}

fn get_filter(cx: &mut Context<'_>, id: SocketId, family: Domain, room: &Room) -> Result<Outcome, Errno> {
    if room.length < GROUP_FILTER {
        return Err(Errno::INVAL);
    }
    let mut head = [0; GROUP_FILTER];
    room.memory.read(room.address, &mut head)?;
    let other = if family == Domain::Inet { Errno::INVAL } else { Errno::ADDRNOTAVAIL };
    let group = address_at(&head, GROUP_AT, family).ok_or(other)?;
    let count = word_at(&head, SOURCE_AT + 4)? as usize;
    let index = word_at(&head, 0)?;
    // No membership is on interface 0.
    let interface = with_index(index).filter(|&id| family == Domain::Inet6 || cx.host.interface(id).is_some());
    let found = match (group.is_multicast(), interface, family) {
        (true, None, Domain::Inet) => Err(Errno::ADDRNOTAVAIL),
        (_, interface, _) => cx.host.source_filter(id, group, interface).map_err(errno),
    };
    let (mode, sources) = found?;
    let mut value = head.to_vec();
    put(&mut value, SOURCE_AT, mode_word(mode));
    put(&mut value, SOURCE_AT + 4, sources.len() as u32);
    for &source in sources.iter().take(count) {
        let mut address = sockaddr::emit_inet((source, 0).into());
        address.resize(ADDRESS, 0);
        value.extend_from_slice(&address);
    }
    room.write(&value)
}

fn mode_word(mode: FilterMode) -> u32 {
    u32::from(mode == FilterMode::Include)
}

fn put(value: &mut [u8], at: usize, word: u32) {
    if let Some(place) = value.get_mut(at..at + 4) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
}

fn word_at(value: &[u8], at: usize) -> Result<u32, Errno> {
    value.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|raw| u32::from_ne_bytes(*raw)).ok_or(Errno::INVAL)
}

fn v4_at(value: &[u8], at: usize) -> Result<Ipv4Addr, Errno> {
    value.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|raw| Ipv4Addr::from(*raw)).ok_or(Errno::INVAL)
}

/// The address in a `sockaddr_storage`, if it is of the family.
fn address_at(value: &[u8], at: usize, family: Domain) -> Option<IpAddr> {
    let address = sockaddr::parse_inet(value.get(at..at + ADDRESS)?).ok()?.ip();
    (address.is_ipv6() == (family == Domain::Inet6)).then_some(address)
}

/// The interface of an index, whether there is one or not; 0 is none in particular.
fn with_index(index: u32) -> Option<InterfaceId> {
    Some(InterfaceId(u16::try_from(index.checked_sub(1)?).unwrap_or(u16::MAX)))
}

fn with_address(host: &Host, address: Ipv4Addr) -> Option<InterfaceId> {
    let has = |link: &wireway_stack::InterfaceInfo<'_>| link.addresses.iter().any(|cidr| cidr.address == address);
    host.interfaces().find(has).map(|link| link.id)
}
