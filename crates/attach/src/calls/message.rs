//! sendto(2), sendmsg(2), sendmmsg(2)
//!
//! On a connection these go on in the kernel, on the pair, unless something in them means another thing there. Datagrams with an address
//! are sent by the engine, after what the program wrote natively before.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SendFlags;
use wireway_engine::Context;
use wireway_stack::{Error, Kind, SocketOption};

use super::connect::{one_family, reachable};
use super::{Call, Outcome, Target, park, socket_at, target};
use crate::msghdr::{self, Control, Header, Vector};
use crate::process::is_nonblocking;
use crate::socket::{Body, Key, errno};
use crate::stream::Phase;
use crate::world::World;
use crate::{datagram, links, sockaddr, sys};

/// One message to send.
struct Message {
    vectors: Vec<Vector>,
    name: Option<Vec<u8>>,
    control: Vec<Control>,
    flags: i32,
}

/// How far sending came.
enum Sent {
    Bytes(usize),
    WouldBlock,
    /// The kernel does it right.
    Native,
}

pub(super) fn sendto(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let Target::Ours(key, theirs) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let name = match call.argument(4) {
        0 => None,
        address => Some(sockaddr::read(call.memory(), address, call.argument(5))?),
    };
    let vectors = vec![Vector { address: call.argument(1), length: call.argument(2) }];
    let message = Message { vectors, name, control: Vec::new(), flags: call.int(3) };
    let sent = send(w, cx, call, key, &theirs, &message)?;
    finish(w, call, key, &theirs, &message, sent)
}

pub(super) fn sendmsg(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let Target::Ours(key, theirs) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let message = read_message(call, call.argument(1), call.int(2))?;
    let sent = send(w, cx, call, key, &theirs, &message)?;
    finish(w, call, key, &theirs, &message, sent)
}

pub(super) fn sendmmsg(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let Target::Ours(key, theirs) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let count = (call.argument(2) as u32).min(msghdr::MANY_MOST) as usize;
    if matches!(socket_at(w, key)?.body, Body::Stream(_)) {
        return Ok(Outcome::GoOn);
    }
    while call.progress < count {
        let at = call.argument(1).wrapping_add(call.progress as u64 * msghdr::MANY_STRIDE);
        let sent = read_message(call, at, call.int(3)).and_then(|m| send(w, cx, call, key, &theirs, &m));
        match sent {
            Ok(Sent::Bytes(n)) => {
                call.memory().write_u32(at.wrapping_add(56), n as u32)?;
                call.progress += 1;
            }
            Ok(Sent::Native) => return Ok(Outcome::GoOn),
            Ok(Sent::WouldBlock) if call.progress > 0 => break,
            Ok(Sent::WouldBlock) => return blocked(w, call, key, &theirs, call.int(3)),
            Err(_) if call.progress > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(Outcome::Done(Ok(call.progress as i64)))
}

fn read_message(call: &Call, at: u64, flags: i32) -> Result<Message, Errno> {
    let header = Header::read(call.memory(), at)?;
    let name = match header.name {
        0 => None,
        _ if header.name_length == 0 => None,
        address => Some(sockaddr::read(call.memory(), address, header.name_length as u64)?),
    };
    let control = msghdr::parse_control(&header.read_control(call.memory())?)?;
    Ok(Message { vectors: header.vectors, name, control, flags })
}

fn finish(
    w: &mut World,
    call: &mut Call,
    key: Key,
    theirs: &OwnedFd,
    message: &Message,
    sent: Sent,
) -> Result<Outcome, Errno> {
    match sent {
        Sent::Native => Ok(Outcome::GoOn),
        Sent::Bytes(n) => Ok(Outcome::Done(Ok(n as i64))),
        Sent::WouldBlock => blocked(w, call, key, theirs, message.flags),
    }
}

fn blocked(w: &mut World, call: &Call, key: Key, theirs: &OwnedFd, flags: i32) -> Result<Outcome, Errno> {
    if flags & libc::MSG_DONTWAIT != 0 || is_nonblocking(theirs) {
        return match call.progress {
            0 => Err(Errno::AGAIN),
            n => Ok(Outcome::Done(Ok(n as i64))),
        };
    }
    park(w, key, theirs, libc::SO_SNDTIMEO)
}

fn send(
    w: &mut World,
    cx: &mut Context<'_>,
    call: &mut Call,
    key: Key,
    theirs: &OwnedFd,
    message: &Message,
) -> Result<Sent, Errno> {
    let socket = socket_at(w, key)?;
    match &socket.body {
        Body::Stream(stream) => {
            let phase = stream.phase;
            send_stream(w, cx, call, key, theirs, message, phase)
        }
        Body::Listener(_) => Err(broken_pipe(call, message.flags)),
        Body::Datagrams(_) => send_datagram(w, cx, call, key, theirs, message),
        Body::Netlink(_) => {
            let data = msghdr::gather(call.memory(), &message.vectors)?;
            if let Body::Netlink(netlink) = &mut socket_at(w, key)?.body {
                netlink.ask(cx, &data);
            }
            w.run_soon(key);
            Ok(Sent::Bytes(data.len()))
        }
    }
}

/// EPIPE, with the signal that goes with it.
fn broken_pipe(call: &Call, flags: i32) -> Errno {
    if flags & libc::MSG_NOSIGNAL == 0 {
        sys::signal_thread(call.thread(), libc::SIGPIPE);
    }
    Errno::PIPE
}

fn send_stream(
    w: &mut World,
    cx: &mut Context<'_>,
    call: &mut Call,
    key: Key,
    theirs: &OwnedFd,
    message: &Message,
    phase: Phase,
) -> Result<Sent, Errno> {
    // TCP Fast Open and urgent data are not there.
    if message.flags & (libc::MSG_FASTOPEN | libc::MSG_OOB) != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    if phase == Phase::Fresh {
        return Err(broken_pipe(call, message.flags));
    }
    // Descriptors and credentials would cross the pair and end there.
    if !message.control.is_empty() {
        return Err(Errno::INVAL);
    }
    if message.name.is_none() && message.flags & libc::MSG_MORE == 0 {
        return Ok(Sent::Native);
    }
    // The address of a connection is not looked at (tcp(7)); AF_UNIX would say EISCONN.
    let data = msghdr::gather(call.memory(), &message.vectors)?;
    w.touched(cx, key, false);
    while call.progress < data.len() || data.is_empty() {
        let rest = data.get(call.progress..).unwrap_or_default();
        let socket = socket_at(w, key)?;
        let (Some(id), Some(ours)) = (socket.id, &socket.ours) else { return Ok(Sent::Native) };
        let behind_nothing = sys::ioctl_int(ours, libc::FIONREAD) == Ok(0);
        let result = if message.flags & libc::MSG_MORE != 0 && phase == Phase::Open && behind_nothing {
            let flags = wireway_stack::SendFlags { more: true };
            cx.host.send(cx.now, id, rest, flags).map_err(errno)
        } else {
            rustix::net::send(theirs, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        };
        match result {
            Ok(n) => call.progress += n,
            Err(Errno::AGAIN) => return Ok(Sent::WouldBlock),
            Err(_) if call.progress > 0 => break,
            Err(Errno::PIPE) => return Err(broken_pipe(call, message.flags)),
            Err(e) => return Err(e),
        }
        if data.is_empty() {
            break;
        }
    }
    Ok(Sent::Bytes(call.progress))
}

fn send_datagram(
    w: &mut World,
    cx: &mut Context<'_>,
    call: &Call,
    key: Key,
    theirs: &OwnedFd,
    message: &Message,
) -> Result<Sent, Errno> {
    if message.flags & (libc::MSG_OOB | libc::MSG_MORE) != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    let socket = socket_at(w, key)?;
    let id = socket.id.ok_or(Errno::BADF)?;
    // Sending by a raw socket tells no pending error.
    if !matches!(&socket.body, Body::Datagrams(d) if matches!(d.kind, Kind::Raw(_))) {
        datagram::hush(socket, theirs.as_fd());
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
    }
    let family = socket.family;
    let peer = message.name.as_ref().map(|raw| destination(raw, family)).transpose()?;
    if let Some(peer) = peer {
        one_family(cx.host, id, peer)?;
        w.names(cx, peer);
    }
    let socket = socket_at(w, key)?;
    let asked = Asked::read(&message.control)?;
    let data = msghdr::gather(call.memory(), &message.vectors)?;
    datagram::send_native(socket, cx);
    w.run_soon(key);
    let before = cx.host.options(id).map_err(errno)?;
    let local = cx.host.local_addr(id).map_err(errno)?;
    let device = match asked.interface {
        0 => None,
        index => Some(links::with_index(cx.host, index).ok_or(Errno::NODEV)?.id),
    };
    if device.is_some() && before.bind_to_device.is_some_and(|bound| Some(bound) != device) {
        return Err(Errno::INVAL);
    }
    // For this datagram alone, and how it was before.
    let options = [
        (asked.tos.map(SocketOption::Tos), SocketOption::Tos(before.tos)),
        (asked.traffic_class.map(SocketOption::TrafficClass), SocketOption::TrafficClass(before.traffic_class)),
        (asked.ttl.map(|ttl| SocketOption::Ttl(Some(ttl))), SocketOption::Ttl(before.ttl)),
        (asked.hop_limit.map(|hops| SocketOption::HopLimit(Some(hops))), SocketOption::HopLimit(before.hop_limit)),
        (
            device.map(|device| SocketOption::BindToDevice(Some(device))),
            SocketOption::BindToDevice(before.bind_to_device),
        ),
    ];
    let mut during = options.iter().filter_map(|(during, _)| *during);
    let set = during.try_for_each(|option| cx.host.set_option(cx.now, id, option));
    let source = asked.source.map(|ip| SocketAddr::new(ip, local.port()));
    let result = set.and_then(|()| cx.host.send_to(cx.now, id, &data, peer, source));
    for (_, before) in options.into_iter().filter(|(during, _)| during.is_some()) {
        let _ = cx.host.set_option(cx.now, id, before);
    }
    match result {
        Ok(n) => Ok(Sent::Bytes(n)),
        Err(Error::WouldBlock) => Ok(Sent::WouldBlock),
        Err(e) => {
            // The error queue tells more.
            if e == Error::MessageTooLong {
                datagram::show_queued(socket_at(w, key)?, cx);
            }
            Err(errno(e))
        }
    }
}

/// The address of a datagram, as a socket of `family` may give it.
fn destination(raw: &[u8], family: i32) -> Result<SocketAddr, Errno> {
    let v6 = family == libc::AF_INET6;
    match sockaddr::family(raw).ok_or(Errno::INVAL)? {
        // udp(7): Linux takes it for AF_INET.
        libc::AF_UNSPEC if !v6 => {
            let mut raw = raw.to_vec();
            if let Some(f) = raw.get_mut(..2) {
                f.copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            }
            sockaddr::parse_inet(&raw)
        }
        libc::AF_INET6 if !v6 => Err(Errno::AFNOSUPPORT),
        _ => reachable(sockaddr::parse_inet(raw)?, v6),
    }
}

/// Control messages of a send call.
#[derive(Default)]
struct Asked {
    tos: Option<u8>,
    traffic_class: Option<u8>,
    ttl: Option<u8>,
    hop_limit: Option<u8>,
    source: Option<IpAddr>,
    /// ifindex, 0 for none.
    interface: u32,
}

impl Asked {
    fn read(control: &[Control]) -> Result<Asked, Errno> {
        let mut asked = Asked::default();
        for message in control {
            let value = match *message.data.as_slice() {
                [byte] => byte as i32,
                [a, b, c, d, ..] => i32::from_ne_bytes([a, b, c, d]),
                _ => return Err(Errno::INVAL),
            };
            let byte = u8::try_from(value).map_err(|_| Errno::INVAL);
            match (message.level, message.kind) {
                (libc::IPPROTO_IP, libc::IP_TOS) => asked.tos = Some(byte?),
                (libc::IPPROTO_IP, libc::IP_TTL) => asked.ttl = Some(byte?),
                // RFC 3542 §6.3 and §6.5: -1 is the default.
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS | libc::IPV6_HOPLIMIT) if value == -1 => {}
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => asked.traffic_class = Some(byte?),
                (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => asked.hop_limit = Some(byte?),
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let Some(&[a, b, c, d]) = message.data.get(4..8) else { return Err(Errno::INVAL) };
                    asked.source = Some(Ipv4Addr::new(a, b, c, d).into()).filter(|ip: &IpAddr| !ip.is_unspecified());
                    asked.interface = value as u32;
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let Some(ip) = message.data.first_chunk::<16>() else { return Err(Errno::INVAL) };
                    let Some(&[a, b, c, d]) = message.data.get(16..20) else { return Err(Errno::INVAL) };
                    let ip = IpAddr::from(*ip).to_canonical();
                    asked.source = Some(ip).filter(|ip| !ip.is_unspecified());
                    asked.interface = u32::from_ne_bytes([a, b, c, d]);
                }
                _ => return Err(Errno::INVAL),
            }
        }
        Ok(asked)
    }
}
