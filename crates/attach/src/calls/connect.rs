//! connect(2)

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SocketType;
use wireway_engine::Context;
use wireway_stack::{Error, Host, SocketId, SocketOption};

use super::{Call, Outcome, Target, park, socket_at, target};
use crate::notify::NotHanded;
use crate::prefill::Prefill;
use crate::process::is_nonblocking;
use crate::sockaddr;
use crate::socket::{Body, Key, Pair, errno};
use crate::stream::{Phase, Stream};
use crate::sys::{self, Target as Place};
use crate::world::{Awaited, World};

/// Local sockets of services that look names up on the machine's network: to the program they are not there.
const RESOLVERS: [&[u8]; 4] =
    [b"/run/nscd/socket", b"/var/run/nscd/socket", b"/run/avahi-daemon/socket", b"/var/run/avahi-daemon/socket"];
const RESOLVER_DIRECTORIES: [&[u8]; 2] = [b"/run/systemd/resolve/", b"/var/run/systemd/resolve/"];

/// Whether an AF_UNIX address leads to a service that goes round the host.
pub(super) fn goes_round(raw: &[u8]) -> bool {
    sockaddr::unix_path(raw)
        .is_some_and(|path| RESOLVERS.contains(&path) || RESOLVER_DIRECTORIES.iter().any(|d| path.starts_with(d)))
}

/// A connection that a call has begun, and waits for.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    key: Key,
    peer: SocketAddr,
    nonblocking: bool,
}

pub(super) fn connect(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    if let Some(attempt) = call.attempt {
        return go_on(w, cx, call, attempt);
    }
    let (key, theirs) = match target(w, call)? {
        Target::Ours(key, theirs) => (key, theirs),
        Target::Local => {
            let raw = sockaddr::read(call.memory(), call.argument(1), call.argument(2)).unwrap_or_default();
            return if goes_round(&raw) { Err(Errno::NOENT) } else { Ok(Outcome::GoOn) };
        }
    };
    let raw = sockaddr::read(call.memory(), call.argument(1), call.argument(2))?;
    let family = sockaddr::family(&raw).ok_or(Errno::INVAL)?;
    let socket = socket_at(w, key)?;
    let Some(id) = socket.id else {
        return if family == libc::AF_NETLINK { Ok(Outcome::Done(Ok(0))) } else { Err(Errno::INVAL) };
    };
    if family == libc::AF_UNSPEC {
        cx.host.disconnect(cx.now, id).map_err(errno)?;
        match &mut socket.body {
            Body::Datagrams(d) => {
                d.peer = None;
                // As Linux's __udp_disconnect, whoever chose the device.
                cx.host.set_option(cx.now, id, SocketOption::BindToDevice(None)).map_err(errno)?;
            }
            Body::Stream(_) => w.break_off(cx, key),
            _ => {}
        }
        return Ok(Outcome::Done(Ok(0)));
    }
    let v4_to_v6_datagram = family == libc::AF_INET && matches!(socket.body, Body::Datagrams(_));
    if family != socket.family && !v4_to_v6_datagram {
        return Err(Errno::AFNOSUPPORT);
    }
    let peer = reachable(sockaddr::parse_inet(&raw)?, socket.is_v6())?;
    one_family(cx.host, id, peer)?;
    w.names(cx, peer);
    match &mut socket_at(w, key)?.body {
        Body::Datagrams(d) => {
            cx.host.connect(cx.now, id, peer).map_err(errno)?;
            d.peer = Some(peer);
            w.run_soon(key);
            Ok(Outcome::Done(Ok(0)))
        }
        Body::Stream(_) => stream(w, cx, call, key, theirs, peer),
        Body::Listener(_) => Err(Errno::ISCONN),
        Body::Netlink(_) => Err(Errno::INVAL),
    }
}

/// An address as the host takes it on a socket of this family. EAFNOSUPPORT for IPv6 that an IPv4 socket cannot reach.
pub(super) fn reachable(address: SocketAddr, v6_socket: bool) -> Result<SocketAddr, Errno> {
    match address.ip() {
        // IPv4's unspecified address too: it leads to 127.0.0.1, not to ::1.
        IpAddr::V4(ip) if v6_socket => Ok(SocketAddr::new(ip.to_ipv6_mapped().into(), address.port())),
        IpAddr::V4(_) => Ok(address),
        IpAddr::V6(ip) if !v6_socket => {
            let v4 = ip.to_ipv4_mapped().ok_or(Errno::AFNOSUPPORT)?;
            Ok(SocketAddr::new(IpAddr::V4(v4), address.port()))
        }
        IpAddr::V6(_) => Ok(address),
    }
}

/// A socket of IPv6 that has an IPv4 address reaches no IPv6 one. EAFNOSUPPORT.
pub(super) fn one_family(host: &Host, id: SocketId, peer: SocketAddr) -> Result<(), Errno> {
    let is_mapped = |address: SocketAddr| matches!(address.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    let own = host.local_addr(id).map_err(errno)?;
    if is_mapped(own) && peer.is_ipv6() && !is_mapped(peer) && !peer.ip().is_unspecified() {
        return Err(Errno::AFNOSUPPORT);
    }
    Ok(())
}

fn stream(
    w: &mut World,
    cx: &mut Context<'_>,
    call: &mut Call,
    key: Key,
    mut theirs: OwnedFd,
    peer: SocketAddr,
) -> Result<Outcome, Errno> {
    let socket = socket_at(w, key)?;
    let id = socket.id.ok_or(Errno::INVAL)?;
    let Body::Stream(stream) = &mut socket.body else { return Err(Errno::INVAL) };
    if stream.phase == Phase::Broken {
        sys::pending_error(&theirs);
        if let Some(error) = socket.error.take() {
            // Told once; the next call begins anew.
            let _ = cx.host.disconnect(cx.now, id);
            return Err(error);
        }
        theirs = renew(w, cx, call, key, &theirs)?;
    }
    let socket = socket_at(w, key)?;
    let Body::Stream(stream) = &mut socket.body else { return Err(Errno::INVAL) };
    let fresh = stream.phase == Phase::Fresh;
    if fresh
        && stream.is_readable()
        && let Some(ours) = &socket.ours
    {
        // Written before there was a connection: on Linux that is EPIPE.
        Prefill::drain(ours.as_fd(), usize::MAX);
    }
    let attempt = Attempt { key, peer, nonblocking: is_nonblocking(&theirs) };
    if attempt.nonblocking && stream.unanswered {
        return go_on(w, cx, call, attempt);
    }
    match cx.host.connect(cx.now, id, peer) {
        Err(Error::InProgress | Error::AlreadyInProgress) if fresh => {
            stream.phase = Phase::Connecting;
            call.attempt = Some(attempt);
            stream.unanswered = attempt.nonblocking;
            w.begin(key);
            // A call that is not to wait is answered at the end of this round.
            if attempt.nonblocking {
                return Ok(Outcome::Park(Awaited::Socket(key), None));
            }
            park(w, key, &theirs, libc::SO_SNDTIMEO)
        }
        Err(e @ (Error::InProgress | Error::AlreadyInProgress)) if attempt.nonblocking => Err(errno(e)),
        Err(Error::InProgress | Error::AlreadyInProgress) => {
            call.attempt = Some(attempt);
            park(w, key, &theirs, libc::SO_SNDTIMEO)
        }
        Ok(()) if fresh => {
            stream.phase = Phase::Connecting;
            connected(w, key)
        }
        Ok(()) => connected(w, key),
        Err(e) => Err(failed(w, key, e)),
    }
}

/// Something happened to a connection that this call waits for.
fn go_on(w: &mut World, cx: &mut Context<'_>, call: &mut Call, attempt: Attempt) -> Result<Outcome, Errno> {
    let Attempt { key, peer, nonblocking } = attempt;
    if nonblocking {
        // Whatever it is, is for poll to show.
        w.touched(cx, key, false);
        let answered = call.notification.try_finish(Err(Errno::INPROGRESS)).is_ok();
        if let Body::Stream(stream) = &mut socket_at(w, key)?.body {
            stream.unanswered = !answered;
        }
        return Ok(Outcome::Answered);
    }
    let id = socket_at(w, key)?.id.ok_or(Errno::INVAL)?;
    match cx.host.connect(cx.now, id, peer) {
        Ok(()) => connected(w, key),
        Err(Error::InProgress | Error::AlreadyInProgress) => Ok(Outcome::Park(Awaited::Socket(key), None)),
        Err(e) => Err(failed(w, key, e)),
    }
}

fn connected(w: &mut World, key: Key) -> Result<Outcome, Errno> {
    w.run_soon(key);
    Ok(Outcome::Done(Ok(0)))
}

/// The attempt failed, and the call tells: the next may be another attempt.
fn failed(w: &mut World, key: Key, error: Error) -> Errno {
    if let Ok(socket) = socket_at(w, key)
        && let Body::Stream(stream) = &mut socket.body
        && stream.phase == Phase::Connecting
        && let Some(ours) = &socket.ours
    {
        stream.phase = Phase::Fresh;
        stream.prefilled = Prefill::drain(ours.as_fd(), stream.prefilled);
    }
    errno(error)
}

/// A new pair under the old descriptor, after one that was shown an error.
fn renew(w: &mut World, cx: &mut Context<'_>, call: &Call, key: Key, old: &OwnedFd) -> Result<OwnedFd, Errno> {
    let pair = Pair::new(SocketType::STREAM, is_nonblocking(old))?;
    let theirs = w.sockets.replace_pair(cx, key, pair)?;
    let close_on_exec = is_close_on_exec(call.thread(), call.int(0));
    socket_at(w, key)?.body = Body::Stream(Stream::new(Phase::Fresh));
    match call.notification.hand_over(theirs.as_fd(), Place::Exactly(call.int(0)), close_on_exec) {
        Ok(_) => Ok(theirs),
        Err(NotHanded::Gone) => Err(Errno::INTR),
        Err(NotHanded::Error(e)) => Err(e),
    }
}

/// Whether a descriptor of a thread's is closed by exec: a property of the number, which a duplicate does not show.
fn is_close_on_exec(thread: u32, number: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{thread}/fdinfo/{number}")).unwrap_or_default();
    let flags = text.lines().find_map(|l| l.strip_prefix("flags:")).map(str::trim).unwrap_or("0");
    i64::from_str_radix(flags, 8).unwrap_or(0) & libc::O_CLOEXEC as i64 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_services_of_the_machine_are_hidden() {
        let unix = |path: &[u8]| [&(libc::AF_UNIX as u16).to_ne_bytes()[..], path].concat();
        assert!(goes_round(&unix(b"/run/nscd/socket\0")));
        assert!(goes_round(&unix(b"/run/systemd/resolve/io.systemd.Resolve")));
        assert!(!goes_round(&unix(b"/run/user/0/bus\0")));
        assert!(!goes_round(&unix(b"\0/run/nscd/socket")));
    }

    #[test]
    fn an_ipv6_socket_reaches_both_families() {
        let at = |s: &str| s.parse::<SocketAddr>().unwrap();
        assert_eq!(reachable(at("[2001:db8::1]:1"), true), Ok(at("[2001:db8::1]:1")));
        assert_eq!(reachable(at("[2001:db8::1]:1"), false), Err(Errno::AFNOSUPPORT));
        assert_eq!(reachable(at("[::ffff:1.2.3.4]:1"), true), Ok(at("[::ffff:1.2.3.4]:1")));
        assert_eq!(reachable(at("1.2.3.4:1"), true), Ok(at("[::ffff:1.2.3.4]:1")));
        assert_eq!(reachable(at("0.0.0.0:1"), true), Ok(at("[::ffff:0.0.0.0]:1")));
        assert_eq!(reachable(at("1.2.3.4:1"), false), Ok(at("1.2.3.4:1")));
    }
}
