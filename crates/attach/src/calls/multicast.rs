//! The options of multicast (ip(7), ipv6(7), RFC 3493 §5.2, RFC 3678), each checked in the order in which Linux does.

use std::net::{IpAddr, Ipv4Addr};

use rustix::io::Errno;
use wireway_engine::Context;
use wireway_stack::{Domain, Host, SocketId, SocketOption};

use super::options::{int, int_or_byte};
use super::{Call, Outcome, socket_at};
use crate::group_values::{
    ADDRESS, Filter, GROUP_AT, GROUP_FILTER, GROUP_SOURCE_REQ, IP_FILTER, SOURCE_AT, address_at, group_req,
    group_source_req, mode_word, mreq, mreq_source, mreq_v6, outgoing, put, v4_at, with_address, with_index, word_at,
};
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
            _ => Filter::of(cx.host, &value, family)?,
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
