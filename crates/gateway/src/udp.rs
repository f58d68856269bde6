//! UDP: flows between the program and anywhere, and those of published ports.
//!
//! One transparent socket of the host takes what the program sends to any address. Each pair of addresses is a flow with a
//! connected socket of the machine, so that the machine tells of ICMP errors and lets only the peer's answers in. A flow of a published port
//! uses that port's socket instead. Flows end when idle; there is a bound on them, and the one idle longest makes room.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};
use wireway_engine::{Context, Interest};
use wireway_packet::Instant;
use wireway_stack::{DatagramInfo, Domain, Error, Host, Kind, ReceiveFlags, SocketId, SocketOption, Unreachable};

use crate::address::{Far, Map, canonical};
use crate::counters::{Counters, count};
use crate::errqueue;
use crate::outer::{self, Passed};
use crate::table::{Part, Table};

/// How long a flow lasts that only one side has used (RFC 4787 §4.3 asks for two minutes where nothing else frees it; here the bound on
/// flows would be reached by a resolver's queries first).
const IDLE_ONE_WAY: Duration = Duration::from_secs(60);
/// How long a flow lasts that both sides have used.
const IDLE_TWO_WAY: Duration = Duration::from_secs(180);
/// How often flows are looked through.
const SWEEP: Duration = Duration::from_secs(10);
/// Flows at a time, where descriptors suffice.
const FLOWS: usize = 2_048;
/// Datagrams handled in one call, so that others take turns.
const BATCH: usize = 64;
/// The longest datagram and one byte.
const BUFFER: usize = 1 << 16;

enum Via {
    /// A socket of its own, connected.
    Own(OwnedFd),
    /// A published port's socket, and the client.
    Published(Rc<OwnedFd>, SocketAddr),
}

struct Flow {
    program: SocketAddr,
    /// The other end as the program sees it.
    far: SocketAddr,
    via: Via,
    used: Instant,
    from_program: bool,
    to_program: bool,
    /// The longest datagram that was sent lately: what an ICMP error would quote.
    sent: DatagramInfo,
    /// How far the machine's socket lets datagrams go.
    hops: Option<u8>,
    queued: bool,
}

impl Flow {
    fn expires(&self) -> Instant {
        self.used + if self.from_program && self.to_program { IDLE_TWO_WAY } else { IDLE_ONE_WAY }
    }
}

/// What came with a datagram, IPv4 addresses as such: the socket is of both families.
pub(crate) fn as_it_was(info: DatagramInfo) -> DatagramInfo {
    DatagramInfo { source: canonical(info.source), destination: canonical(info.destination), ..info }
}

/// The UDP relay.
pub(crate) struct Udp {
    socket: SocketId,
    flows: Table<Flow>,
    limit: usize,
    by_ends: HashMap<(SocketAddr, SocketAddr), u64>,
    /// Published ports that the program refused in this family, and not in the other.
    refused: HashSet<SocketAddr>,
    /// Flows with more to receive.
    busy: Vec<u64>,
    /// The program has sent more.
    more: bool,
    sweep_at: Option<Instant>,
    buffer: Box<[u8]>,
}

impl Udp {
    /// Takes datagrams to every destination.
    pub fn new(host: &mut Host, now: Instant) -> wireway_stack::Result<Udp> {
        let socket = host.socket(Domain::Inet6, Kind::Datagram)?;
        host.set_option(now, socket, SocketOption::Transparent(true))?;
        host.bind(socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))?;
        for option in [SocketOption::ReceiveErrors(true), SocketOption::ReceiveErrorsV6(true)] {
            host.set_option(now, socket, option)?;
        }
        host.set_option(now, socket, SocketOption::ReceiveBuffer(2 << 20))?;
        host.set_option(now, socket, SocketOption::SendBuffer(2 << 20))?;
        Ok(Udp {
            socket,
            flows: Table::new(Part::Udp),
            limit: FLOWS,
            by_ends: HashMap::new(),
            refused: HashSet::new(),
            busy: Vec::new(),
            more: false,
            sweep_at: None,
            buffer: vec![0; BUFFER].into_boxed_slice(),
        })
    }

    pub fn socket(&self) -> SocketId {
        self.socket
    }

    /// Flows there are now.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Bounds the flows there may be.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.clamp(1, FLOWS);
    }

    /// The program may have sent something. `dns` is given the queries for the resolver.
    pub fn event(
        &mut self,
        cx: &mut Context<'_>,
        map: &Map,
        counters: &Counters,
        dns: &mut dyn FnMut(&mut Context<'_>, &DatagramInfo, &[u8]),
    ) {
        self.more = false;
        for _ in 0..BATCH {
            let mut buffer = std::mem::take(&mut self.buffer);
            let outcome = cx.host.recv_from(self.socket, &mut buffer, ReceiveFlags::default()).map(as_it_was);
            if let Ok(info) = &outcome {
                let data = buffer.get(..info.len).unwrap_or(&buffer);
                match map.far(info.destination) {
                    Far::Resolver => dns(cx, info, data),
                    Far::Machine(peer) => self.send_out(cx, info, data, peer, counters),
                    Far::Closed => self.refuse(cx, info, Unreachable::Port, counters),
                    Far::Unreachable(why) => self.refuse(cx, info, why, counters),
                    Far::Many => count(&counters.udp_broadcast),
                }
            }
            self.buffer = buffer;
            match outcome {
                Ok(_) => {}
                Err(Error::WouldBlock) => return,
                // ICMP errors about what was sent to the program.
                Err(_) => self.take_errors(cx, map),
            }
        }
        self.more = true;
    }

    /// Where the program refuses what came in at a published port, it may listen in the other family alone: what comes next goes there.
    fn take_errors(&mut self, cx: &mut Context<'_>, map: &Map) {
        while let Ok(error) = cx.host.recv_error(self.socket) {
            let program = canonical(error.destination);
            let published = |flow: &Flow| flow.program == program && matches!(flow.via, Via::Published(..));
            if error.error == Error::ConnectionRefused
                && self.flows.iter().any(|(_, flow)| published(flow))
                && let Some((_, other)) = map.other_family(program.ip())
            {
                self.refused.remove(&SocketAddr::new(other, program.port()));
                self.refused.insert(program);
            }
        }
    }

    fn refuse(&mut self, cx: &mut Context<'_>, info: &DatagramInfo, why: Unreachable, counters: &Counters) {
        count(&counters.udp_refused);
        // A limit on ICMP errors is no failure.
        let _ = cx.host.send_unreachable(cx.now, self.socket, info, &[], why);
    }

    fn send_out(
        &mut self,
        cx: &mut Context<'_>,
        info: &DatagramInfo,
        data: &[u8],
        peer: SocketAddr,
        counters: &Counters,
    ) {
        let ends = (info.source, info.destination);
        let known = self.by_ends.get(&ends).copied();
        // What became of a datagram that was sent to see whether anybody listens.
        let mut first = None;
        let hops = outer::hops_left(info.ttl).filter(|_| !peer.ip().is_loopback());
        if hops == Some(0) {
            count(&counters.udp_refused);
            let _ = cx.host.relay_error(cx.now, self.socket, info, &[], outer::exceeded(peer.is_ipv6()));
            return;
        }
        let token = match known {
            Some(token) => token,
            None => {
                let opened = outer::connect_datagram(peer).and_then(|fd| {
                    if !peer.ip().is_loopback() {
                        return Ok(fd);
                    }
                    first = Some(outer::send(&fd, data));
                    outer::instead_on_loopback(fd, peer, data)
                });
                let fd = match opened {
                    Ok(fd) => fd,
                    Err(error) if outer::is_exhausted(error) => {
                        self.evict(counters);
                        return count(&counters.udp_dropped);
                    }
                    Err(error) => {
                        let why = outer::unreachable(error).unwrap_or(Unreachable::Host);
                        return self.refuse(cx, info, why, counters);
                    }
                };
                let Some(token) = self.insert(cx, ends, Via::Own(fd), info, counters) else { return };
                token
            }
        };
        let Some(flow) = self.flows.get_mut(token) else { return };
        flow.used = cx.now;
        flow.from_program = true;
        flow.sent = *info;
        let outcome = match &flow.via {
            Via::Own(_) if first.is_some() => first.unwrap_or(Ok(0)),
            Via::Own(fd) => {
                if flow.hops != hops {
                    flow.hops = hops;
                    outer::set_hops(fd, peer.is_ipv6(), hops);
                }
                let sent = outer::send(fd, data);
                match sent {
                    // The error may be of an earlier datagram; this one was not sent.
                    Err(error) if outer::unreachable(error).is_some() => {
                        return self.send_again(cx, token, info, data, error, counters);
                    }
                    sent => sent,
                }
            }
            Via::Published(fd, client) => {
                rustix::net::sendto(fd, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, client)
            }
        };
        count(if outcome.is_ok() { &counters.udp_datagrams_out } else { &counters.udp_dropped });
    }

    /// After a send call that failed, which tells of an earlier datagram, if of any.
    fn send_again(
        &mut self,
        cx: &mut Context<'_>,
        token: u64,
        info: &DatagramInfo,
        data: &[u8],
        error: Errno,
        counters: &Counters,
    ) {
        let earlier = self.pass_errors_on(cx, token, counters);
        let Some(Flow { via: Via::Own(fd), .. }) = self.flows.get(token) else { return };
        let outcome = if earlier { outer::send(fd, data) } else { Err(error) };
        match outcome.map_err(outer::unreachable) {
            Err(Some(why)) => self.refuse(cx, info, why, counters),
            Err(None) => count(&counters.udp_dropped),
            Ok(_) => count(&counters.udp_datagrams_out),
        }
    }

    /// Tells the program what ICMP told of a flow's datagrams. True if there was something.
    fn pass_errors_on(&mut self, cx: &mut Context<'_>, token: u64, counters: &Counters) -> bool {
        let Some(Flow { via: Via::Own(fd), sent, far, .. }) = self.flows.get(token) else { return false };
        let (all, sent, far) = (errqueue::take(fd, BATCH), *sent, far.ip());
        for told in &all {
            match outer::passed_on(told, far) {
                Passed::Own(why) => self.refuse(cx, &sent, why, counters),
                Passed::As(error) => {
                    count(&counters.udp_refused);
                    let _ = cx.host.relay_error(cx.now, self.socket, &sent, &[], error);
                }
                Passed::Kept => {}
            }
        }
        !all.is_empty()
    }

    /// A flow's own socket is ready.
    pub fn ready(&mut self, cx: &mut Context<'_>, token: u64, seen: Interest, counters: &Counters) {
        if seen.contains(Interest::ERR) {
            self.pass_errors_on(cx, token, counters);
        }
        if seen.intersects(Interest::IN | Interest::ERR) {
            self.receive_own(cx, token, counters);
        }
    }

    fn receive_own(&mut self, cx: &mut Context<'_>, token: u64, counters: &Counters) {
        for _ in 0..BATCH {
            let Some(flow) = self.flows.get_mut(token) else { return };
            let Via::Own(fd) = &flow.via else { return };
            match outer::recv(fd, &mut self.buffer) {
                Ok(n) => {
                    flow.used = cx.now;
                    flow.to_program = true;
                    let (program, far) = (flow.program, flow.far);
                    self.send_in(cx, n, program, far, counters);
                }
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    let sent = flow.sent;
                    if !self.pass_errors_on(cx, token, counters)
                        && let Some(why) = outer::unreachable(error)
                    {
                        self.refuse(cx, &sent, why, counters);
                    }
                }
            }
        }
        if let Some(flow) = self.flows.get_mut(token)
            && !std::mem::replace(&mut flow.queued, true)
        {
            self.busy.push(token);
        }
    }

    fn send_in(&mut self, cx: &mut Context<'_>, n: usize, program: SocketAddr, far: SocketAddr, counters: &Counters) {
        let data = self.buffer.get(..n).unwrap_or(&self.buffer);
        let outcome = cx.host.send_to(cx.now, self.socket, data, Some(program), Some(far));
        count(if outcome.is_ok() { &counters.udp_datagrams_in } else { &counters.udp_dropped });
    }

    /// Something came in at a published port that leads to the program's `port`. True if there is more.
    pub fn receive_published(
        &mut self,
        cx: &mut Context<'_>,
        fd: &Rc<OwnedFd>,
        port: u16,
        map: &Map,
        counters: &Counters,
    ) -> bool {
        for _ in 0..BATCH {
            let received = rustix::net::recvfrom(&**fd, &mut *self.buffer, RecvFlags::DONTWAIT);
            let (n, client) = match received {
                Ok((_, n, client)) => (n, client.and_then(|client: SocketAddrAny| outer::socket_addr(client))),
                Err(Errno::AGAIN) => return false,
                // An ICMP error about an earlier answer.
                Err(_) => continue,
            };
            let Some(client) = client else { continue };
            let mut near = map.near(client.ip());
            let mut program = SocketAddr::new(map.program(near), port);
            if self.refused.contains(&program)
                && let Some((gateway, other)) = map.other_family(near)
            {
                (near, program) = (gateway, SocketAddr::new(other, port));
            }
            let Some(far) = self.published_flow(cx, fd, client, program, near, counters) else {
                count(&counters.udp_dropped);
                continue;
            };
            self.send_in(cx, n, program, far, counters);
        }
        true
    }

    /// The address under which the program sees `client`, with a flow for it.
    fn published_flow(
        &mut self,
        cx: &mut Context<'_>,
        fd: &Rc<OwnedFd>,
        client: SocketAddr,
        program: SocketAddr,
        near: IpAddr,
        counters: &Counters,
    ) -> Option<SocketAddr> {
        // Clients that share the gateway's address may need another port.
        let others = (0..64u16).map(|step| 49_152 + (client.port().wrapping_mul(31).wrapping_add(step * 251) & 0x3fff));
        for port in std::iter::once(client.port()).chain(others) {
            let far = SocketAddr::new(near, port);
            match self.by_ends.get(&(program, far)).and_then(|&token| self.flows.get_mut(token)) {
                Some(flow) => {
                    if let Via::Published(own, known) = &flow.via
                        && *known == client
                        && Rc::ptr_eq(own, fd)
                    {
                        flow.used = cx.now;
                        flow.to_program = true;
                        return Some(far);
                    }
                }
                None => {
                    let sent = DatagramInfo {
                        len: 0,
                        source: program,
                        destination: far,
                        interface: wireway_stack::InterfaceId(0),
                        ttl: 0,
                        tos: 0,
                    };
                    let token = self.insert(cx, (program, far), Via::Published(fd.clone(), client), &sent, counters)?;
                    if let Some(flow) = self.flows.get_mut(token) {
                        flow.to_program = true;
                    }
                    return Some(far);
                }
            }
        }
        None
    }

    fn insert(
        &mut self,
        cx: &mut Context<'_>,
        ends: (SocketAddr, SocketAddr),
        via: Via,
        sent: &DatagramInfo,
        counters: &Counters,
    ) -> Option<u64> {
        if self.flows.len() >= self.limit {
            self.evict(counters);
        }
        let (program, far) = ends;
        let flow = Flow {
            program,
            far,
            via,
            used: cx.now,
            from_program: false,
            to_program: false,
            sent: *sent,
            hops: None,
            queued: false,
        };
        let token = self.flows.insert(flow);
        if let Some(Flow { via: Via::Own(fd), .. }) = self.flows.get(token)
            && cx.register(fd.as_fd(), token, Interest::IN | Interest::ET).is_err()
        {
            count(&counters.udp_dropped);
            self.flows.remove(token);
            return None;
        }
        self.by_ends.insert(ends, token);
        if self.sweep_at.is_none() {
            self.sweep_at = Some(cx.now + SWEEP);
        }
        Some(token)
    }

    /// Ends the flow that was idle longest.
    fn evict(&mut self, counters: &Counters) {
        let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.used).map(|(token, _)| token);
        if let Some(token) = oldest {
            count(&counters.udp_flows_evicted);
            self.remove(token);
        }
    }

    fn remove(&mut self, token: u64) {
        if let Some(flow) = self.flows.remove(token) {
            self.by_ends.remove(&(flow.program, flow.far));
        }
    }

    /// Goes on with flows that had more than their share, and ends idle ones. True if the program has sent more.
    pub fn poll(&mut self, cx: &mut Context<'_>, counters: &Counters) -> bool {
        for token in std::mem::take(&mut self.busy) {
            if let Some(flow) = self.flows.get_mut(token) {
                flow.queued = false;
                self.receive_own(cx, token, counters);
            }
        }
        if self.sweep_at.is_some_and(|at| at <= cx.now) {
            let idle: Vec<u64> =
                self.flows.iter().filter(|(_, flow)| flow.expires() <= cx.now).map(|(token, _)| token).collect();
            for token in idle {
                self.remove(token);
            }
            self.sweep_at = (self.flows.len() > 0).then_some(cx.now + SWEEP);
        }
        self.more
    }

    pub fn poll_at(&self) -> Option<Instant> {
        if self.more || !self.busy.is_empty() { Some(Instant::ZERO) } else { self.sweep_at }
    }
}
