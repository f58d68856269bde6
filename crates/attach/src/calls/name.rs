//! bind(2), getsockname(2), getpeername(2)

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::io::Errno;
use wireway_engine::Context;

use super::{Call, Outcome, Target, socket_at, target};
use crate::sockaddr;
use crate::socket::{Body, errno};
use crate::world::World;

pub(super) fn bind(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let Target::Ours(key, _) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let raw = sockaddr::read(call.memory(), call.argument(1), call.argument(2))?;
    let family = sockaddr::family(&raw).ok_or(Errno::INVAL)?;
    let socket = socket_at(w, key)?;
    if let Body::Netlink(netlink) = &mut socket.body {
        netlink.bind(&raw)?;
        w.groups_changed(cx);
        return Ok(Outcome::Done(Ok(0)));
    }
    let id = socket.id.ok_or(Errno::INVAL)?;
    let address = match family {
        // An old habit that Linux allows: no family, any address.
        libc::AF_UNSPEC if socket.family == libc::AF_INET && raw.get(4..8) == Some(&[0; 4]) => {
            let port = raw.get(2..4).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
        }
        family if family == socket.family => sockaddr::parse_inet(&raw)?,
        _ => return Err(Errno::AFNOSUPPORT),
    };
    cx.host.bind(id, address).map_err(errno)?;
    Ok(Outcome::Done(Ok(0)))
}

pub(super) fn local(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let Target::Ours(key, _) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let socket = socket_at(w, key)?;
    let raw = match (&socket.body, socket.id) {
        (Body::Netlink(netlink), _) => netlink.name(),
        (_, Some(id)) => {
            let address = cx.host.local_addr(id).map_err(errno)?;
            sockaddr::emit_inet(sockaddr::shown(address, socket.is_v6()))
        }
        _ => return Err(Errno::INVAL),
    };
    sockaddr::store(call.memory(), &raw, call.argument(1), call.argument(2))?;
    Ok(Outcome::Done(Ok(0)))
}

pub(super) fn peer(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let Target::Ours(key, _) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let socket = socket_at(w, key)?;
    let raw = match socket.id {
        Some(id) => {
            let address = cx.host.peer_addr(id).map_err(errno)?;
            sockaddr::emit_inet(sockaddr::shown(address, socket.is_v6()))
        }
        None => sockaddr::emit_netlink(0, 0),
    };
    sockaddr::store(call.memory(), &raw, call.argument(1), call.argument(2))?;
    Ok(Outcome::Done(Ok(0)))
}
