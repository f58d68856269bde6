//! ICMP echo to other addresses than the gateway's own, which the host answers itself.
//!
//! A raw socket a family of the host sees every ICMP message for any address. Echo requests go out by a ping socket of the machine, or a raw
//! one, whichever it allows; each identifier and destination is a flow with a socket of its own. Where the machine
//! allows neither, the answer is "prohibited" (RFC 1812 §5.2.7.1).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use wireway_engine::{Context, Interest};
use wireway_packet::Instant;
use wireway_stack::{DatagramInfo, Domain, Error, Host, Kind, ReceiveFlags, SocketId, SocketOption};
use wireway_wire::{Protocol, Sum};

use crate::address::{Far, Map};
use crate::counters::{Counters, count};
use crate::errqueue;
use crate::outer::{self, Echo, Passed};
use crate::table::{Part, Table};
use crate::udp::as_it_was;

/// How long a flow lasts after its last message (RFC 5508 §3.2: at least 60 seconds).
const IDLE: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(10);
/// Flows at a time.
const FLOWS: usize = 256;
const BATCH: usize = 64;
/// The longest IP packet and one byte.
const BUFFER: usize = 1 << 16;

/// The types of echo messages, and the protocol.
struct Types {
    request: u8,
    reply: u8,
    protocol: Protocol,
}

/// RFC 792; RFC 4443 §4.
const V4: Types = Types { request: 8, reply: 0, protocol: Protocol::ICMP };
const V6: Types = Types { request: 128, reply: 129, protocol: Protocol::ICMPV6 };

fn types(address: IpAddr) -> &'static Types {
    if address.is_ipv4() { &V4 } else { &V6 }
}

struct Flow {
    program: IpAddr,
    far: IpAddr,
    /// The program's identifier.
    ident: u16,
    /// The identifier on the machine's raw socket.
    outer_ident: u16,
    fd: OwnedFd,
    echo: Echo,
    used: Instant,
    /// How far the machine's socket lets requests go.
    hops: Option<u8>,
    /// The latest request, for an ICMP error to quote.
    sent: (DatagramInfo, [u8; 8]),
}

/// The echo relay.
pub(crate) struct Icmp {
    /// For IPv4 and IPv6.
    sockets: [SocketId; 2],
    flows: Table<Flow>,
    by_ends: HashMap<(IpAddr, IpAddr, u16), u64>,
    next_ident: u16,
    /// Sockets with more than one call takes.
    more: Vec<SocketId>,
    sweep_at: Option<Instant>,
    buffer: Box<[u8]>,
}

impl Icmp {
    /// Sees ICMP messages to every destination. `ident` is where identifiers begin.
    pub fn new(host: &mut Host, now: Instant, ident: u16) -> wireway_stack::Result<Icmp> {
        let mut open = |domain, types: &Types| {
            let socket = host.socket(domain, Kind::Raw(types.protocol.0))?;
            host.set_option(now, socket, SocketOption::Transparent(true))?;
            Ok(socket)
        };
        Ok(Icmp {
            sockets: [open(Domain::Inet, &V4)?, open(Domain::Inet6, &V6)?],
            flows: Table::new(Part::Icmp),
            by_ends: HashMap::new(),
            next_ident: ident,
            more: Vec::new(),
            sweep_at: None,
            buffer: vec![0; BUFFER].into_boxed_slice(),
        })
    }

    /// Whether the socket is one of the relay's.
    pub fn has(&self, socket: SocketId) -> bool {
        self.sockets.contains(&socket)
    }

    fn socket_for(&self, address: IpAddr) -> SocketId {
        self.sockets[usize::from(address.is_ipv6())]
    }

    /// Flows there are now.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// The program may have sent something to one of the relay's sockets.
    pub fn event(&mut self, cx: &mut Context<'_>, socket: SocketId, map: &Map, counters: &Counters) {
        for _ in 0..BATCH {
            let mut buffer = std::mem::take(&mut self.buffer);
            let outcome = cx.host.recv_from(socket, &mut buffer, ReceiveFlags::default()).map(as_it_was);
            if let Ok(info) = &outcome {
                let length = info.len.min(buffer.len());
                if let Some(message) = buffer.get_mut(..length) {
                    self.message(cx, info, message, map, counters);
                }
            }
            self.buffer = buffer;
            if outcome == Err(Error::WouldBlock) {
                return;
            }
        }
        self.more.push(socket);
    }

    fn message(
        &mut self,
        cx: &mut Context<'_>,
        info: &DatagramInfo,
        message: &mut [u8],
        map: &Map,
        counters: &Counters,
    ) {
        let (source, destination) = (info.source.ip(), info.destination.ip());
        if map.is_own(destination) {
            return;
        }
        let (socket, types) = (self.socket_for(destination), types(destination));
        let Some(&head) = message.first_chunk::<8>() else { return count(&counters.icmp_ignored) };
        let [kind, code, _, _, a, b, ..] = head;
        let mut sum = pseudo(source, destination, message.len());
        sum.add_bytes(message);
        if (kind, code) != (types.request, 0) || !sum.is_valid() {
            return count(&counters.icmp_ignored);
        }
        let ident = u16::from_be_bytes([a, b]);
        match map.far(info.destination) {
            Far::Machine(peer) => {
                if info.ttl <= 1 {
                    count(&counters.icmp_unreachable);
                    let _ = cx.host.relay_error(cx.now, socket, info, &head, outer::exceeded(destination.is_ipv6()));
                } else if let Err(error) = self.send_out(cx, info, message, head, ident, peer.ip(), counters) {
                    let denied = matches!(error, Errno::ACCESS | Errno::PERM);
                    count(if denied { &counters.icmp_prohibited } else { &counters.icmp_unreachable });
                    if let Some(why) = outer::unreachable(error) {
                        let _ = cx.host.send_unreachable(cx.now, socket, info, &head, why);
                    }
                } else {
                    count(&counters.icmp_echo_out);
                }
            }
            Far::Unreachable(why) => {
                count(&counters.icmp_unreachable);
                let _ = cx.host.send_unreachable(cx.now, socket, info, &head, why);
            }
            // Broadcast is not relayed.
            Far::Resolver | Far::Closed | Far::Many => {}
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn send_out(
        &mut self,
        cx: &mut Context<'_>,
        info: &DatagramInfo,
        message: &mut [u8],
        head: [u8; 8],
        ident: u16,
        peer: IpAddr,
        counters: &Counters,
    ) -> Result<(), Errno> {
        let ends = (info.source.ip(), info.destination.ip(), ident);
        let token = match self.by_ends.get(&ends) {
            Some(&token) => token,
            None => {
                let (fd, echo) = outer::connect_echo(peer)?;
                if self.flows.len() >= FLOWS {
                    self.evict();
                }
                self.next_ident = self.next_ident.wrapping_add(1);
                let token = self.flows.insert(Flow {
                    program: ends.0,
                    far: ends.1,
                    ident,
                    outer_ident: self.next_ident,
                    fd,
                    echo,
                    used: cx.now,
                    hops: None,
                    sent: (*info, head),
                });
                if let Some(flow) = self.flows.get(token)
                    && cx.register(flow.fd.as_fd(), token, Interest::IN).is_err()
                {
                    self.flows.remove(token);
                    return Err(Errno::NOBUFS);
                }
                self.by_ends.insert(ends, token);
                if self.sweep_at.is_none() {
                    self.sweep_at = Some(cx.now + SWEEP);
                }
                token
            }
        };
        let Some(flow) = self.flows.get_mut(token) else { return Ok(()) };
        flow.used = cx.now;
        flow.sent = (*info, head);
        // A ping socket sets both by itself, and any ICMPv6 socket the checksum.
        set_ident(message, flow.outer_ident, Sum::new());
        let hops = outer::hops_left(info.ttl);
        if flow.hops != hops {
            flow.hops = hops;
            outer::set_hops(&flow.fd, peer.is_ipv6(), hops);
        }
        match outer::send(&flow.fd, message) {
            // The error is of an earlier request, if one is known; this one was not sent.
            Err(error) if outer::unreachable(error).is_some() => {
                if !self.pass_errors_on(cx, token, counters) {
                    return Err(error);
                }
                let Some(flow) = self.flows.get(token) else { return Ok(()) };
                outer::send(&flow.fd, message).map(|_| ())
            }
            sent => sent.map(|_| ()),
        }
    }

    /// Tells the program what ICMP told of a flow's requests. True if there was something.
    fn pass_errors_on(&mut self, cx: &mut Context<'_>, token: u64, counters: &Counters) -> bool {
        let Some(flow) = self.flows.get(token) else { return false };
        let socket = self.socket_for(flow.far);
        let all = errqueue::take(&flow.fd, BATCH);
        for told in &all {
            let [kind, code, _, _, a, b, ..] = told.quoted;
            if flow.echo == Echo::Raw && u16::from_be_bytes([a, b]) != flow.outer_ident {
                // Somebody else's.
                continue;
            }
            let (info, mut head) = flow.sent;
            if (kind, code) == (types(flow.far).request, 0) {
                head = told.quoted;
                [head[4], head[5]] = flow.ident.to_be_bytes();
            }
            count(&counters.icmp_unreachable);
            let _ = match outer::passed_on(told, flow.far) {
                Passed::Own(why) => cx.host.send_unreachable(cx.now, socket, &info, &head, why),
                Passed::As(error) => cx.host.relay_error(cx.now, socket, &info, &head, error),
                Passed::Kept => Ok(()),
            };
        }
        !all.is_empty()
    }

    /// A flow's socket is ready.
    pub fn ready(&mut self, cx: &mut Context<'_>, token: u64, seen: Interest, counters: &Counters) {
        if seen.contains(Interest::ERR) {
            self.pass_errors_on(cx, token, counters);
        }
        for _ in 0..BATCH {
            let Some(flow) = self.flows.get_mut(token) else { return };
            let n = match outer::recv(&flow.fd, &mut self.buffer) {
                Ok(n) => n,
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    if self.pass_errors_on(cx, token, counters) {
                        continue;
                    }
                    let Some(flow) = self.flows.get(token) else { return };
                    if let Some(why) = outer::unreachable(error) {
                        count(&counters.icmp_unreachable);
                        let socket = self.sockets[usize::from(flow.far.is_ipv6())];
                        let _ = cx.host.send_unreachable(cx.now, socket, &flow.sent.0, &flow.sent.1, why);
                    }
                    continue;
                }
            };
            let Some(received) = self.buffer.get_mut(..n) else { continue };
            let Some(message) = reply(received, types(flow.far), flow.echo, flow.outer_ident) else { continue };
            flow.used = cx.now;
            set_ident(message, flow.ident, pseudo(flow.far, flow.program, message.len()));
            let (program, far) = (SocketAddr::new(flow.program, 0), SocketAddr::new(flow.far, 0));
            let socket = self.sockets[usize::from(flow.far.is_ipv6())];
            if cx.host.send_to(cx.now, socket, message, Some(program), Some(far)).is_ok() {
                count(&counters.icmp_echo_in);
            }
        }
    }

    fn evict(&mut self) {
        if let Some(token) = self.flows.iter().min_by_key(|(_, flow)| flow.used).map(|(token, _)| token) {
            self.remove(token);
        }
    }

    fn remove(&mut self, token: u64) {
        if let Some(flow) = self.flows.remove(token) {
            self.by_ends.remove(&(flow.program, flow.far, flow.ident));
        }
    }

    /// Ends idle flows. The sockets to which the program has sent more come back.
    pub fn poll(&mut self, now: Instant) -> Vec<SocketId> {
        if self.sweep_at.is_some_and(|at| at <= now) {
            let idle: Vec<u64> =
                self.flows.iter().filter(|(_, flow)| flow.used + IDLE <= now).map(|(token, _)| token).collect();
            for token in idle {
                self.remove(token);
            }
            self.sweep_at = (self.flows.len() > 0).then_some(now + SWEEP);
        }
        std::mem::take(&mut self.more)
    }

    pub fn poll_at(&self) -> Option<Instant> {
        if !self.more.is_empty() { Some(Instant::ZERO) } else { self.sweep_at }
    }
}

/// The sum of ICMPv6's pseudo header (RFC 4443 §2.3); ICMP has none.
fn pseudo(source: IpAddr, destination: IpAddr, len: usize) -> Sum {
    match (source, destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Sum::pseudo_v6(source, destination, Protocol::ICMPV6, len as u32)
        }
        _ => Sum::new(),
    }
}

/// The echo reply in what a socket received, if it is one for this flow.
fn reply<'a>(received: &'a mut [u8], types: &Types, echo: Echo, ident: u16) -> Option<&'a mut [u8]> {
    let start = match echo {
        Echo::Raw if types.protocol == Protocol::ICMP => usize::from(received.first()? & 0x0f) * 4,
        _ => 0,
    };
    let message = received.get_mut(start..)?;
    let [kind, _, _, _, a, b, _, _] = *message.first_chunk::<8>()?;
    let own = echo == Echo::Ping || u16::from_be_bytes([a, b]) == ident;
    (kind == types.reply && own).then_some(message)
}

/// Sets an echo message's identifier, and its checksum, of which `sum` is the pseudo header's part.
fn set_ident(message: &mut [u8], ident: u16, mut sum: Sum) {
    let Some((head, _)) = message.split_first_chunk_mut::<8>() else { return };
    [head[4], head[5]] = ident.to_be_bytes();
    [head[2], head[3]] = [0; 2];
    sum.add_bytes(message);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum.finish().to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_recognised() {
        let mut message = vec![0, 0, 0, 0, 0x12, 0x34, 0, 1, b'x'];
        set_ident(&mut message, 0x1234, Sum::new());
        assert!(Sum::of(&message).is_valid());
        let mut raw = vec![0x45; 20];
        raw.extend(&message);
        assert!(reply(&mut raw, &V4, Echo::Raw, 0x1234).is_some());
        assert!(reply(&mut raw, &V4, Echo::Raw, 0x1235).is_none());
        assert!(reply(&mut message.clone(), &V4, Echo::Ping, 0).is_some());
        message[0] = 8;
        assert!(reply(&mut message, &V4, Echo::Ping, 0).is_none());
    }

    #[test]
    fn what_is_too_short_is_no_reply() {
        for length in 0..28 {
            let mut short = vec![0x4f; length];
            assert!(reply(&mut short, &V4, Echo::Raw, 0x4f4f).is_none());
        }
    }
}
