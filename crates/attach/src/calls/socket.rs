//! socket(2)

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::SocketType;
use wireway_engine::Context;
use wireway_stack::Kind;

use super::{Call, Outcome};
use crate::alarm::Alarm;
use crate::datagram::Datagrams;
use crate::filter::NOTIFIED_SENDERS;
use crate::netlink::Netlink;
use crate::notify::NotHanded;
use crate::socket::{Body, Pair, Socket, domain, errno};
use crate::stream::{Phase, Stream};
use crate::sys::{self, Target};
use crate::world::World;

/// Families of netlink that tell of the machine, not of its network.
const LOCAL_NETLINK: [i32; 2] = [libc::NETLINK_KOBJECT_UEVENT, libc::NETLINK_AUDIT];

pub(super) fn socket(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let (family, full, protocol) = (call.int(0), call.int(1), call.int(2));
    let flags = full & !0xf;
    if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        return Err(Errno::INVAL);
    }
    let kind = full & 0xf;
    let wanted = match family {
        libc::AF_INET | libc::AF_INET6 => Some(inet(family, kind, protocol)?),
        libc::AF_NETLINK if ![libc::SOCK_RAW, libc::SOCK_DGRAM].contains(&kind) => return Err(Errno::SOCKTNOSUPPORT),
        libc::AF_NETLINK if LOCAL_NETLINK.contains(&protocol) => return Ok(Outcome::GoOn),
        libc::AF_NETLINK if protocol == libc::NETLINK_ROUTE => None,
        libc::AF_NETLINK => return Err(Errno::PROTONOSUPPORT),
        _ => return Err(Errno::AFNOSUPPORT),
    };
    let nonblocking = flags & libc::SOCK_NONBLOCK != 0;
    let (pair, alarm) = match wanted {
        Some(Kind::Stream) => (Pair::new(SocketType::STREAM, nonblocking)?, None),
        Some(_) => datagram_pair(w, nonblocking)?,
        None => (Pair::new(SocketType::SEQPACKET, nonblocking)?, None),
    };
    let id = match wanted {
        Some(kind) => Some(cx.host.socket(domain(family), kind).map_err(errno)?),
        None => None,
    };
    let body = match wanted {
        Some(Kind::Stream) => Body::Stream(Stream::new(Phase::Fresh)),
        Some(kind) => Body::Datagrams(Datagrams::new(kind, alarm)),
        None => Body::Netlink(Netlink::new(call.thread(), crate::process::user(call.thread()))),
    };
    if !matches!(body, Body::Stream(_)) {
        sys::set_option(&pair.ours, libc::SOL_SOCKET, libc::SO_PASSCRED, &1i32.to_ne_bytes())?;
    }
    let protocol = match wanted {
        Some(Kind::Stream) => libc::IPPROTO_TCP,
        Some(Kind::Datagram) => libc::IPPROTO_UDP,
        _ => protocol,
    };
    let socket = Socket {
        id,
        family,
        kind,
        protocol,
        ours: Some(pair.ours),
        inode: pair.inode,
        holder: (call.thread(), -1),
        error: None,
        timed: false,
        watched: false,
        waiting: Default::default(),
        wanted: Default::default(),
        body,
    };
    let key = w.sockets.insert(cx, socket)?;
    let close_on_exec = flags & libc::SOCK_CLOEXEC != 0;
    if matches!(wanted, Some(Kind::Raw(_) | Kind::Ping))
        && let Some(number) = number_of_notified_sender(w, call)
        && call.notification.hand_over(pair.theirs.as_fd(), Target::Exactly(number), close_on_exec).is_ok()
    {
        if let Some(socket) = w.sockets.get(key) {
            socket.holder.1 = number;
        }
        return Ok(Outcome::Done(Ok(number.into())));
    }
    match call.notification.answer_descriptor(pair.theirs.as_fd(), close_on_exec) {
        Ok(number) => {
            if let Some(socket) = w.sockets.get(key) {
                socket.holder.1 = number;
            }
            Ok(Outcome::Answered)
        }
        Err(refusal) => {
            w.sockets.remove(cx, key);
            if let Some(id) = id {
                let _ = cx.host.close(cx.now, id);
            }
            match refusal {
                NotHanded::Gone => Ok(Outcome::Answered),
                NotHanded::Error(e) => Err(e),
            }
        }
    }
}

/// A number that is free in the calling process, by which the filter knows that sending is to be notified.
fn number_of_notified_sender(w: &mut World, call: &Call) -> Option<i32> {
    NOTIFIED_SENDERS.rev().find(|&number| w.processes.descriptor(call.thread(), number).err() == Some(Errno::BADF))
}

/// A pair on which errors can be shown, if its close can be seen; else one that shows its close alone.
fn datagram_pair(w: &mut World, nonblocking: bool) -> Result<(Pair, Option<Box<Alarm>>), Errno> {
    if let Some(closes) = &mut w.closes {
        let pair = Pair::new(SocketType::DGRAM, nonblocking)?;
        if let Ok(alarm) = Alarm::new(pair.theirs.as_fd())
            && closes.watch(pair.theirs.as_fd(), pair.inode).is_ok()
        {
            return Ok((pair, Some(Box::new(alarm))));
        }
    }
    Ok((Pair::new(SocketType::SEQPACKET, nonblocking)?, None))
}

/// The host's kind of socket, or the error Linux gives for a combination it has not.
fn inet(family: i32, kind: i32, protocol: i32) -> Result<Kind, Errno> {
    match (kind, protocol) {
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Ok(Kind::Stream),
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Ok(Kind::Datagram),
        (libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE) => Ok(Kind::LiteDatagram),
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMP) if family == libc::AF_INET => Ok(Kind::Ping),
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6) if family == libc::AF_INET6 => Ok(Kind::Ping),
        (libc::SOCK_RAW, 1..=255) => Ok(Kind::Raw(protocol as u8)),
        (libc::SOCK_STREAM | libc::SOCK_DGRAM | libc::SOCK_RAW, _) => Err(Errno::PROTONOSUPPORT),
        _ => Err(Errno::SOCKTNOSUPPORT),
    }
}
