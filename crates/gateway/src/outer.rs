//! The machine's sockets: non-blocking, closed on exec, never raising SIGPIPE.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SocketAddrAny, SocketFlags, SocketType, ipproto, recv as sys_recv, socket_with,
    sockopt,
};
use wireway_engine::Interest;
use wireway_stack::{RelayedError, Unreachable};
use wireway_wire::{Icmpv4Type, Icmpv6Type};

use crate::errqueue::{self, Told};

/// Hops of a packet that was sent without a wish.
const DEFAULT_HOPS: u8 = 64;

/// How every relayed socket is watched: by edges, so that one registration lasts for its life.
pub(crate) fn edges() -> Interest {
    Interest::IN | Interest::OUT | Interest::RDHUP | Interest::ET
}

fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

fn open(family: AddressFamily, kind: SocketType, protocol: Protocol) -> Result<OwnedFd, Errno> {
    socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, Some(protocol))
}

/// Where a connection attempt stands.
pub(crate) enum Connecting {
    /// Established already.
    Done(OwnedFd),
    /// Its socket will become writable, or show an error.
    Pending(OwnedFd),
}

/// Starts to connect a TCP socket to `peer`.
pub(crate) fn connect_stream(peer: SocketAddr) -> Result<Connecting, Errno> {
    let fd = open(family(peer), SocketType::STREAM, ipproto::TCP)?;
    prepare_stream(&fd, peer);
    match rustix::net::connect(&fd, &peer) {
        Ok(()) => return Ok(Connecting::Done(fd)),
        Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(error),
    }
    if !peer.ip().is_loopback() {
        return Ok(Connecting::Pending(fd));
    }
    // On loopback the handshake is over by now, and asking again saves a turn of the loop.
    match rustix::net::connect(&fd, &peer) {
        Ok(()) | Err(Errno::ISCONN) => Ok(Connecting::Done(fd)),
        Err(Errno::ALREADY | Errno::INPROGRESS | Errno::INTR) => Ok(Connecting::Pending(fd)),
        Err(error) => Err(error),
    }
}

/// The other loopback address, for when nobody listens on `peer`.
pub(crate) fn other_loopback(peer: SocketAddr) -> Option<SocketAddr> {
    let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    let other = if peer.ip() == v4 { Some(v6) } else { (peer.ip() == v6).then_some(v4) };
    other.map(|address| SocketAddr::new(address, peer.port()))
}

/// Sets the options of a relayed connection. The host has cut the program's bytes into segments already, so nothing is to wait for
/// more; and the program's own keep-alives end at the gateway, so a peer that is gone is the machine's to notice. (One on the machine
/// itself does not go without a word.)
pub(crate) fn prepare_stream(fd: &OwnedFd, peer: SocketAddr) {
    // Without them a connection is slower, or longer remembered: not wrong.
    let _ = sockopt::set_tcp_nodelay(fd, true);
    if !peer.ip().to_canonical().is_loopback() {
        let _ = sockopt::set_socket_keepalive(fd, true);
    }
}

/// A UDP socket that sends to, and receives from, `peer` only.
pub(crate) fn connect_datagram(peer: SocketAddr) -> Result<OwnedFd, Errno> {
    let fd = open(family(peer), SocketType::DGRAM, ipproto::UDP)?;
    errqueue::keep(&fd, peer.is_ipv6())?;
    rustix::net::connect(&fd, &peer)?;
    Ok(fd)
}

/// The other of the machine's loopback addresses in the place of `peer`, if nobody listens there, who has been sent `data`: on loopback that
/// is known as soon as it is sent. Else ECONNREFUSED.
pub(crate) fn instead_on_loopback(fd: OwnedFd, peer: SocketAddr, data: &[u8]) -> Result<OwnedFd, Errno> {
    let refused = |fd: &OwnedFd| take_error(fd) == Some(Errno::CONNREFUSED);
    let Some(other) = other_loopback(peer).filter(|_| refused(&fd)) else { return Ok(fd) };
    let second = connect_datagram(other).map_err(|_| Errno::CONNREFUSED)?;
    let sent = send(&second, data);
    if sent.is_err() || refused(&second) { Err(Errno::CONNREFUSED) } else { Ok(second) }
}

/// Has what a socket sends live for so many hops from the machine, or as the machine has it.
pub(crate) fn set_hops(fd: &OwnedFd, v6: bool, hops: Option<u8>) {
    // The machine's own is as good as any.
    let _ = match (v6, hops) {
        (true, hops) => sockopt::set_ipv6_unicast_hops(fd, hops),
        (false, Some(hops)) => sockopt::set_ip_ttl(fd, hops.into()),
        // ip(7): -1 is the default.
        (false, None) => sockopt::set_ip_ttl(fd, u32::MAX),
    };
}

/// How far a packet of the program's may go on from the machine: the gateway is a hop as well. One that was to go as far as its host lets
/// packets go by default may go as far as the machine does.
pub(crate) fn hops_left(ttl: u8) -> Option<u8> {
    (ttl < DEFAULT_HOPS).then(|| ttl.saturating_sub(1))
}

/// A socket that listens for a published port. `[::]` is every address of both families, or of IPv4 where the machine has no IPv6.
pub(crate) fn listen(address: SocketAddr, kind: SocketType) -> Result<(OwnedFd, SocketAddr), Errno> {
    let any = address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED);
    match listen_at(address, kind) {
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if any => {
            listen_at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), kind)
        }
        other => other,
    }
}

fn listen_at(address: SocketAddr, kind: SocketType) -> Result<(OwnedFd, SocketAddr), Errno> {
    let protocol = if kind == SocketType::STREAM { ipproto::TCP } else { ipproto::UDP };
    let fd = open(family(address), kind, protocol)?;
    if address.is_ipv6() {
        // Whatever the machine's net.ipv6.bindv6only says.
        sockopt::set_ipv6_v6only(&fd, false)?;
    }
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    rustix::net::bind(&fd, &address)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&fd, 4_096)?;
    }
    let bound = socket_addr(rustix::net::getsockname(&fd)?).unwrap_or(address);
    Ok((fd, bound))
}

/// Accepts one connection.
pub(crate) fn accept(listener: &OwnedFd) -> Result<(OwnedFd, SocketAddr), Errno> {
    let (fd, peer) = rustix::net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.and_then(socket_addr).unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    Ok((fd, peer))
}

pub(crate) fn socket_addr(address: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(address).ok()
}

/// How an echo socket frames its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// A ping socket: the kernel sets the identifier and shows the message only.
    Ping,
    /// A raw socket: it shows everybody's messages, and IPv4 headers (IPv6's not: RFC 3542 §3).
    Raw,
}

/// A socket for echo requests to `peer`, as the machine allows: a ping socket (net.ipv4.ping_group_range), or a raw one (CAP_NET_RAW).
pub(crate) fn connect_echo(peer: IpAddr) -> Result<(OwnedFd, Echo), Errno> {
    let peer = SocketAddr::new(peer, 0);
    let protocol = if peer.is_ipv4() { ipproto::ICMP } else { ipproto::ICMPV6 };
    let denied = |error| matches!(error, Errno::ACCESS | Errno::PERM | Errno::PROTONOSUPPORT);
    let (fd, echo) = match open(family(peer), SocketType::DGRAM, protocol) {
        Err(error) if denied(error) => (open(family(peer), SocketType::RAW, protocol)?, Echo::Raw),
        other => (other?, Echo::Ping),
    };
    errqueue::keep(&fd, peer.is_ipv6())?;
    rustix::net::connect(&fd, &peer)?;
    Ok((fd, echo))
}

/// Receives into `buffer`.
pub(crate) fn recv(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match sys_recv(&fd, &mut *buffer, RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            other => return other.map(|(_, n)| n),
        }
    }
}

/// Sends `data`.
pub(crate) fn send(fd: impl AsFd, data: &[u8]) -> Result<usize, Errno> {
    loop {
        match rustix::net::send(&fd, data, rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// The error that is pending on a socket, if there is one.
pub(crate) fn take_error(fd: impl AsFd) -> Option<Errno> {
    match sockopt::socket_error(fd) {
        Ok(Ok(())) => None,
        Ok(Err(error)) | Err(error) => Some(error),
    }
}

/// Closes a TCP socket by reset (SO_LINGER of zero).
pub(crate) fn reset(fd: OwnedFd) {
    // Failing only means that the peer sees an orderly end.
    let _ = sockopt::set_socket_linger(&fd, Some(Duration::ZERO));
}

/// The ICMP destination unreachable message that tells of `error`, if one does.
pub(crate) fn unreachable(error: Errno) -> Option<Unreachable> {
    match error {
        Errno::CONNREFUSED => Some(Unreachable::Port),
        Errno::NETUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT | Errno::INVAL => Some(Unreachable::Network),
        Errno::HOSTUNREACH | Errno::HOSTDOWN | Errno::ADDRNOTAVAIL => Some(Unreachable::Host),
        Errno::NOPROTOOPT | Errno::PROTO => Some(Unreachable::Protocol),
        Errno::ACCESS | Errno::PERM => Some(Unreachable::Prohibited),
        _ => None,
    }
}

/// How the program is told of an error of the machine's.
pub(crate) enum Passed {
    /// By the host that it sent to, or the gateway.
    Own(Unreachable),
    /// By who said it.
    As(RelayedError),
    /// Not at all: the machine cuts what is too long.
    Kept,
}

/// How to pass on what ICMP told of something sent to `peer`, as the machine knows it.
pub(crate) fn passed_on(told: &Told, peer: IpAddr) -> Passed {
    let v6 = told.offender.is_ipv6();
    let exceeded = if v6 { Icmpv6Type::TIME_EXCEEDED.0 } else { Icmpv4Type::TIME_EXCEEDED.0 };
    let unreachable_kind =
        if v6 { Icmpv6Type::DESTINATION_UNREACHABLE.0 } else { Icmpv4Type::DESTINATION_UNREACHABLE.0 };
    match told.error {
        Errno::CONNREFUSED => Passed::Own(Unreachable::Port),
        Errno::MSGSIZE => Passed::Kept,
        // An error of the machine's own is the gateway's.
        error if told.offender.is_loopback() || told.offender == peer => {
            unreachable(error).map_or(Passed::Kept, Passed::Own)
        }
        _ if told.kind == exceeded || told.kind == unreachable_kind => {
            Passed::As(RelayedError { kind: told.kind, code: told.code, from: Some(told.offender) })
        }
        error => unreachable(error).map_or(Passed::Kept, Passed::Own),
    }
}

/// The gateway's own error about what may not go on.
pub(crate) fn exceeded(v6: bool) -> RelayedError {
    let kind = if v6 { Icmpv6Type::TIME_EXCEEDED.0 } else { Icmpv4Type::TIME_EXCEEDED.0 };
    RelayedError { kind, code: 0, from: None }
}

/// Descriptors that this process may have.
pub(crate) fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Whether a call failed for want of descriptors or memory, so that it may succeed later.
pub(crate) fn is_exhausted(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
}
