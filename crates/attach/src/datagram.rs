//! Datagram sockets on AF_UNIX DGRAM pairs, whose last close is found by [`crate::closes`]; on SEQPACKET pairs, which tell it, where that
//! is not to be had.
//!
//! The pair carries datagrams but no addresses. So while the socket is not connected, or wants control messages, there is at most one
//! received datagram in the pair, the *head*, and the engine knows whose it is; the rest wait in the host. A notified receive call takes
//! the head with its address; a native read shows as the pair becoming empty. A connected socket needs no addresses: its datagrams go
//! into the pair as they come.
//!
//! What the program sends natively is sent to its peer. Credentials are asked for on the engine's end only because a datagram of no bytes
//! has them and the end of the file has not.
//!
//! An error (from ICMP) is shown on the program's end by [`crate::alarm`], and the next notified call tells it. On a SEQPACKET pair that
//! cannot be: an empty datagram wakes the program up.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendFlags};
use wireway_engine::Context;
use wireway_stack::{DatagramInfo, Kind, ReceiveFlags};

use crate::alarm::Alarm;
use crate::msghdr::Control;
use crate::socket::{Body, Key, Socket, errno};
use crate::{sockaddr, sys};

/// The longest UDP payload over IPv4 (RFC 768, RFC 791), and so the longest datagram of a raw socket with its header, and some.
const LONGEST: usize = 65_536 + 64;
/// Datagrams moved in one turn.
const TURN: usize = 256;

/// A received datagram with what a program may ask about it.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub data: Vec<u8>,
    /// The sender's raw address.
    pub name: Vec<u8>,
    pub control: Vec<Control>,
}

/// What of a datagram a program asked to be told, of one family: each has options of its own for what comes by it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub packet_info: bool,
    pub ttl: bool,
    pub tos: bool,
}

impl Told {
    fn any(&self) -> bool {
        self.packet_info || self.ttl || self.tos
    }
}

/// Control messages a program asked for. A TCP socket may ask too, and gets none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub v4: Told,
    pub v6: Told,
    pub timestamp: bool,
    /// IP options, and the same as they are to be sent back. There is no message where a datagram has none; those that it has are not
    /// passed on yet.
    pub options: bool,
    pub options_to_return: bool,
    /// The error queue, of a TCP socket: what stands in it is of other uses (time stamps) that are not there.
    pub errors: bool,
    pub errors_v6: bool,
}

impl Wanted {
    fn any(&self) -> bool {
        self.v4.any() || self.v6.any() || self.timestamp
    }
}

/// Received datagrams between the host and the program.
#[derive(Default)]
pub(crate) struct Inbox {
    /// Taken from the host. The first may be the head.
    letters: VecDeque<Letter>,
    /// The first letter is also in the pair.
    head: bool,
    /// An empty datagram that is none is in the pair.
    woken: bool,
    /// Our end is watched for being writable.
    watched: bool,
}

impl Inbox {
    /// Takes the wake-up away that an error sent, if the program has not read it and it is the next to be read.
    fn sleep(&mut self, theirs: BorrowedFd<'_>) {
        if !self.woken {
            return;
        }
        match rustix::net::recv(theirs, &mut [0u8; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK | RecvFlags::TRUNC) {
            Ok((_, 0)) => {
                self.woken = rustix::net::recv(theirs, &mut [0u8; 1], RecvFlags::DONTWAIT).is_err();
            }
            Ok(_) => {}
            Err(_) => self.woken = false,
        }
    }

    /// Whether a wake-up is still in the pair, for all that is seen from our end.
    fn is_woken(&mut self, ours: BorrowedFd<'_>) -> bool {
        self.woken &= sys::ioctl_int(ours, libc::TIOCOUTQ) != Ok(0);
        self.woken
    }
}

/// A UDP, ping or raw socket.
pub(crate) struct Datagrams {
    pub kind: Kind,
    pub inbox: Inbox,
    pub peer: Option<SocketAddr>,
    /// The program shut down its sending, which looks like a close.
    pub write_shut: bool,
    /// On a DGRAM pair.
    pub alarm: Option<Box<Alarm>>,
}

impl Datagrams {
    pub(crate) fn new(kind: Kind, alarm: Option<Box<Alarm>>) -> Datagrams {
        Datagrams { kind, inbox: Inbox::default(), peer: None, write_shut: false, alarm }
    }
}

/// How much of what the program wrote was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// All that was there.
    All,
    /// As much as one turn may; there is more.
    Some,
    /// All, and the program has closed its end.
    End,
}

/// Moves what can be moved both ways.
pub(crate) fn pump(socket: &mut Socket, cx: &mut Context<'_>, key: Key) -> Moved {
    let Some(id) = socket.id else { return Moved::All };
    let error = cx.host.take_error(id);
    let moved = send_native(socket, cx);
    if let Some(error) = error {
        fail(socket, errno(error));
    }
    if moved == Moved::All {
        ring(socket);
    }
    if moved != Moved::End {
        deliver(socket, cx, key);
    }
    moved
}

/// Notes an error and wakes the program up.
fn fail(socket: &mut Socket, error: Errno) {
    socket.error = Some(error);
    let (Body::Datagrams(d), Some(ours)) = (&mut socket.body, &socket.ours) else { return };
    if let Some(alarm) = &mut d.alarm {
        alarm.due = true;
    } else if !d.inbox.is_woken(ours.as_fd())
        && !d.inbox.head
        && rustix::net::send(ours, &[], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
    {
        d.inbox.woken = true;
    }
}

/// Shows the error that is due. What the program wrote has been taken.
fn ring(socket: &mut Socket) {
    if let (Body::Datagrams(Datagrams { alarm: Some(alarm), .. }), Some(ours)) = (&mut socket.body, &socket.ours)
        && alarm.due
    {
        let _ = alarm.ring(ours.as_fd());
    }
}

/// Has the pump show that there is something in the error queue.
pub(crate) fn show_queued(socket: &mut Socket, cx: &mut Context<'_>) {
    if let Body::Datagrams(Datagrams { alarm: Some(alarm), .. }) = &mut socket.body
        && let Some(id) = socket.id
        && cx.host.ready(id).contains(wireway_stack::Ready::ERR)
    {
        alarm.due = true;
    }
}

/// A notified call is about to tell the pending error: nothing shows it any more. What a native call has told is told no more.
pub(crate) fn hush(socket: &mut Socket, theirs: BorrowedFd<'_>) {
    if let Body::Datagrams(Datagrams { alarm: Some(alarm), .. }) = &mut socket.body
        && alarm.silence(theirs)
    {
        socket.error = None;
    }
    if let Some(inbox) = inbox(socket) {
        inbox.sleep(theirs);
    }
}

thread_local! {
    /// Room for any datagram.
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; LONGEST]);
}

/// Sends what the program wrote natively.
pub(crate) fn send_native(socket: &mut Socket, cx: &mut Context<'_>) -> Moved {
    ROOM.with_borrow_mut(|room| send_by(socket, cx, room))
}

fn send_by(socket: &mut Socket, cx: &mut Context<'_>, buffer: &mut [u8]) -> Moved {
    for _ in 0..TURN {
        let (Some(id), Some(ours)) = (socket.id, &socket.ours) else { return Moved::All };
        let alarm = match &socket.body {
            Body::Datagrams(d) => d.alarm.as_deref(),
            _ => None,
        };
        match receive(ours.as_fd(), buffer, alarm) {
            Received::Datagram(n) => {
                let data = buffer.get(..n).unwrap_or_default();
                match cx.host.send_to(cx.now, id, data, None, None) {
                    // The interface's queue is full: the datagram is lost, as UDP's may be.
                    Ok(_) | Err(wireway_stack::Error::WouldBlock | wireway_stack::Error::NoBuffers) => {}
                    Err(e @ (wireway_stack::Error::ConnectionRefused | wireway_stack::Error::HostUnreachable)) => {
                        socket.error = Some(errno(e));
                    }
                    // The call has succeeded already: a reader is woken, and the next notified call tells.
                    Err(e) => fail(socket, errno(e)),
                }
            }
            Received::Stray => {}
            Received::Nothing => return Moved::All,
            Received::End => return Moved::End,
        }
    }
    Moved::Some
}

pub(crate) enum Received {
    Datagram(usize),
    /// Not from the program.
    Stray,
    Nothing,
    End,
}

/// Reads one datagram of the program's from our end, which has SO_PASSCRED.
pub(crate) fn receive(ours: BorrowedFd<'_>, buffer: &mut [u8], alarm: Option<&Alarm>) -> Received {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let result = rustix::net::recvmsg(ours, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::DONTWAIT);
    match result {
        Ok(message) if alarm.is_some_and(|alarm| !alarm.is_from_program(message.address.clone())) => Received::Stray,
        Ok(message) if message.bytes == 0 && control.drain().next().is_none() => Received::End,
        Ok(message) => Received::Datagram(message.bytes),
        Err(Errno::CONNRESET) => Received::End,
        Err(_) => Received::Nothing,
    }
}

/// Takes the next datagram from the host.
fn from_host(socket: &mut Socket, cx: &mut Context<'_>) -> Option<Letter> {
    let Body::Datagrams(d) = &mut socket.body else { return None };
    let id = socket.id?;
    let length = cx.host.recv_available(id);
    let mut data = vec![0; length.min(LONGEST)];
    let info = match cx.host.recv_from(id, &mut data, ReceiveFlags::default()) {
        Ok(info) => info,
        Err(wireway_stack::Error::WouldBlock) => return None,
        Err(e) => {
            socket.error = Some(errno(e));
            return None;
        }
    };
    data.truncate(info.len);
    if let (Kind::Raw(protocol), IpAddr::V4(source), IpAddr::V4(destination)) =
        (d.kind, info.source.ip().to_canonical(), info.destination.ip().to_canonical())
    {
        data = with_header(protocol, source, destination, &info, &data);
    }
    let name = sockaddr::emit_inet(sockaddr::shown(info.source, socket.family == libc::AF_INET6));
    let control = control(&socket.wanted, &info, socket.family == libc::AF_INET6);
    Some(Letter { data, name, control })
}

/// A raw IPv4 socket receives the header as well (raw(7)).
fn with_header(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, info: &DatagramInfo, data: &[u8]) -> Vec<u8> {
    let mut packet = vec![0u8; 20];
    packet[0] = 0x45;
    packet[1] = info.tos;
    packet[2..4].copy_from_slice(&((20 + data.len()) as u16).to_be_bytes());
    packet[8] = info.ttl;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    packet.extend_from_slice(data);
    packet
}

fn control(wanted: &Wanted, info: &DatagramInfo, v6: bool) -> Vec<Control> {
    let mut messages = Vec::new();
    let index = info.interface.0 as u32 + 1;
    let int = |level, kind, value: u32| Control { level, kind, data: value.to_ne_bytes().to_vec() };
    if wanted.timestamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let mut data = now.tv_sec.to_ne_bytes().to_vec();
        data.extend_from_slice(&(now.tv_nsec / 1000).to_ne_bytes());
        messages.push(Control { level: libc::SOL_SOCKET, kind: libc::SCM_TIMESTAMP, data });
    }
    let by_v4 = match info.destination.ip().to_canonical() {
        IpAddr::V4(to) => Some(to),
        IpAddr::V6(_) => None,
    };
    // Where a datagram of IPv4's came to, a socket of IPv6 may ask in both ways; the rest, only in that of the family it came by.
    if v6 && wanted.v6.packet_info {
        let mut data = match sockaddr::shown(info.destination, true).ip() {
            IpAddr::V6(ip) => ip.octets().to_vec(),
            IpAddr::V4(_) => vec![0; 16],
        };
        data.extend_from_slice(&index.to_ne_bytes());
        messages.push(Control { level: libc::IPPROTO_IPV6, kind: libc::IPV6_PKTINFO, data });
    }
    if let Some(to) = by_v4 {
        if wanted.v4.packet_info {
            let data = [&index.to_ne_bytes()[..], &to.octets(), &to.octets()].concat();
            messages.push(Control { level: libc::IPPROTO_IP, kind: libc::IP_PKTINFO, data });
        }
        if wanted.v4.ttl {
            messages.push(int(libc::IPPROTO_IP, libc::IP_TTL, info.ttl as u32));
        }
        if wanted.v4.tos {
            messages.push(Control { level: libc::IPPROTO_IP, kind: libc::IP_TOS, data: vec![info.tos] });
        }
    } else {
        if wanted.v6.ttl {
            messages.push(int(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, info.ttl as u32));
        }
        if wanted.v6.tos {
            messages.push(int(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, info.tos as u32));
        }
    }
    messages
}

/// Puts received datagrams into the pair: one, or what fits on a connected socket.
pub(crate) fn deliver(socket: &mut Socket, cx: &mut Context<'_>, key: Key) {
    loop {
        let Some(inbox) = inbox(socket) else { return };
        if inbox.letters.is_empty() {
            let Some(letter) = next_letter(socket, cx) else { break };
            let Some(inbox) = self::inbox(socket) else { return };
            inbox.letters.push_back(letter);
        }
        let deep = is_deep(socket);
        let Some(ours) = &socket.ours else { return };
        let ours = ours.as_fd();
        let inbox = match &mut socket.body {
            Body::Datagrams(d) => &mut d.inbox,
            Body::Netlink(n) => &mut n.inbox,
            _ => return,
        };
        if !deep && inbox.is_woken(ours) {
            // The datagram would stand behind the wake-up: it waits.
            break;
        }
        if inbox.head {
            if sys::ioctl_int(ours, libc::TIOCOUTQ) != Ok(0) {
                break;
            }
            // The program has read it.
            inbox.head = false;
            inbox.letters.pop_front();
            continue;
        }
        let Some(letter) = inbox.letters.front() else { break };
        match rustix::net::send(ours, &letter.data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) if deep => drop(inbox.letters.pop_front()),
            Ok(_) => {
                inbox.head = true;
                break;
            }
            // The program shut down its reading, or closed: the host has any number of empty ones then.
            Err(Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN) => {
                inbox.letters.pop_front();
                break;
            }
            Err(_) => break,
        }
    }
    watch(socket, cx, key);
}

/// Watches for the pair becoming empty while something waits for that.
fn watch(socket: &mut Socket, cx: &mut Context<'_>, key: Key) {
    let Some(inbox) = inbox(socket) else { return };
    let wanted = !inbox.letters.is_empty();
    if inbox.watched != wanted {
        inbox.watched = wanted;
        socket.watch_writable(cx, key, wanted);
    }
}

fn inbox(socket: &mut Socket) -> Option<&mut Inbox> {
    match &mut socket.body {
        Body::Datagrams(d) => Some(&mut d.inbox),
        Body::Netlink(n) => Some(&mut n.inbox),
        _ => None,
    }
}

/// Whether the addresses of received datagrams need not be kept.
fn is_deep(socket: &Socket) -> bool {
    match &socket.body {
        Body::Datagrams(d) => d.peer.is_some() && !socket.wanted.any(),
        _ => false,
    }
}

fn next_letter(socket: &mut Socket, cx: &mut Context<'_>) -> Option<Letter> {
    match &mut socket.body {
        Body::Netlink(n) => n.next(),
        _ => from_host(socket, cx),
    }
}

/// Looks at the next datagram for a notified receive call. EAGAIN if there is none; the pending error once.
pub(crate) fn peek(socket: &mut Socket, cx: &mut Context<'_>, theirs: BorrowedFd<'_>) -> Result<Letter, Errno> {
    hush(socket, theirs);
    let error = socket.error.take();
    let deep_name = match &socket.body {
        Body::Datagrams(Datagrams { peer: Some(peer), .. }) => {
            sockaddr::emit_inet(sockaddr::shown(*peer, socket.is_v6()))
        }
        _ => Vec::new(),
    };
    let inbox = inbox(socket).ok_or(Errno::OPNOTSUPP)?;
    if let Some(error) = error {
        return Err(error);
    }
    let peeked = ROOM.with_borrow_mut(|room| {
        let (n, _) = rustix::net::recv(theirs, &mut room[..], RecvFlags::DONTWAIT | RecvFlags::PEEK)?;
        Ok(room.get(..n).unwrap_or_default().to_vec())
    });
    match peeked {
        // Sent before the socket was connected, or one of a connected socket's.
        Ok(data) if !inbox.head => return Ok(Letter { data, name: deep_name, control: Vec::new() }),
        Ok(_) => return inbox.letters.front().cloned().ok_or(Errno::AGAIN),
        Err(Errno::AGAIN) => {
            if inbox.head {
                inbox.head = false;
                inbox.letters.pop_front();
            }
        }
        Err(e) => return Err(e),
    }
    if inbox.letters.is_empty() {
        let letter = next_letter(socket, cx);
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        self::inbox(socket).ok_or(Errno::OPNOTSUPP)?.letters.push_back(letter.ok_or(Errno::AGAIN)?);
    }
    self::inbox(socket).and_then(|i| i.letters.front().cloned()).ok_or(Errno::AGAIN)
}

/// Takes the oldest error of the socket's queue (MSG_ERRQUEUE, ip(7)): what was quoted of the datagram, where that was sent to, and the
/// error as a control message. The pending error is told by this.
pub(crate) fn take_error(socket: &mut Socket, cx: &mut Context<'_>, theirs: BorrowedFd<'_>) -> Result<Letter, Errno> {
    const SO_EE_ORIGIN_LOCAL: u8 = 1;
    const SO_EE_ORIGIN_ICMP: u8 = 2;
    const SO_EE_ORIGIN_ICMP6: u8 = 3;
    let id = socket.id.ok_or(Errno::AGAIN)?;
    let error = cx.host.recv_error(id).map_err(errno)?;
    let v6 = socket.is_v6();
    let mut data = (error.error.errno() as u32).to_ne_bytes().to_vec();
    // What came by IPv4 to a socket of both families is an error of ICMP's, at IPv6's level.
    let origin = match error.offender {
        Some(IpAddr::V6(_)) => SO_EE_ORIGIN_ICMP6,
        Some(IpAddr::V4(_)) => SO_EE_ORIGIN_ICMP,
        None => SO_EE_ORIGIN_LOCAL,
    };
    data.extend_from_slice(&[origin, error.kind, error.code, 0]);
    data.extend_from_slice(&error.info.to_ne_bytes());
    data.extend_from_slice(&[0; 4]);
    match error.offender {
        Some(offender) => {
            data.extend_from_slice(&sockaddr::emit_inet(sockaddr::shown(SocketAddr::new(offender, 0), v6)));
        }
        // AF_UNSPEC
        None => data.resize(data.len() + if v6 { 28 } else { 16 }, 0),
    }
    let (level, kind) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
    let mut control = vec![Control { level, kind, data }];
    let by_v4 = matches!(error.offender, Some(IpAddr::V4(_)));
    let told = if by_v4 { socket.wanted.v4 } else { socket.wanted.v6 };
    if told.ttl && error.offender.is_some() {
        let (level, kind) = match by_v4 {
            true => (libc::IPPROTO_IP, libc::IP_TTL),
            false => (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
        };
        control.push(Control { level, kind, data: u32::from(error.ttl).to_ne_bytes().to_vec() });
    }
    hush(socket, theirs);
    socket.error = None;
    // The next in the queue.
    if let Some(next) = cx.host.take_error(id) {
        fail(socket, errno(next));
    } else {
        show_queued(socket, cx);
    }
    // Before the answer, if it can be: a poll that follows shows it.
    if send_native(socket, cx) == Moved::All {
        ring(socket);
    }
    Ok(Letter { data: error.payload, name: sockaddr::emit_inet(sockaddr::shown(error.destination, v6)), control })
}

/// Puts back what was taken away for a call that no longer waited, in its order.
pub(crate) fn put_back(socket: &mut Socket, letters: Vec<Letter>) {
    if let Some(inbox) = inbox(socket) {
        for letter in letters.into_iter().rev() {
            inbox.letters.push_front(letter);
        }
    }
}

/// Takes away what [`peek`] showed.
pub(crate) fn consume(socket: &mut Socket, theirs: BorrowedFd<'_>) {
    let Some(inbox) = inbox(socket) else { return };
    let in_pair = rustix::net::recv(theirs, &mut [0u8; 1], RecvFlags::DONTWAIT).is_ok();
    if !in_pair || inbox.head {
        inbox.letters.pop_front();
    }
    inbox.head = false;
}

/// Bytes in the next datagram (FIONREAD).
pub(crate) fn next_length(socket: &mut Socket, cx: &mut Context<'_>, theirs: BorrowedFd<'_>) -> usize {
    peek_quietly(socket, theirs).unwrap_or_else(|| socket.id.map_or(0, |id| cx.host.recv_available(id)))
}

fn peek_quietly(socket: &mut Socket, theirs: BorrowedFd<'_>) -> Option<usize> {
    if let (Body::Datagrams(Datagrams { alarm: Some(_), inbox, .. }), Some(ours)) = (&socket.body, &socket.ours) {
        // A receive call would take the error away that is shown.
        let waits = || inbox.letters.front().filter(|_| !inbox.head).map(|l| l.data.len());
        return match sys::ioctl_int(theirs, libc::FIONREAD) {
            Ok(n @ 1..) => Some(n as usize),
            _ if inbox.head && sys::ioctl_int(ours, libc::TIOCOUTQ) != Ok(0) => Some(0),
            _ => waits(),
        };
    }
    match rustix::net::recv(theirs, &mut [0u8; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK | RecvFlags::TRUNC) {
        Ok((_, n)) => Some(n),
        Err(_) => {
            let inbox = inbox(socket)?;
            inbox.letters.front().filter(|_| !inbox.head).map(|l| l.data.len())
        }
    }
}
