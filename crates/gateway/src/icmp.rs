//! ICMP echo to other addresses than the gateway's own, which the host answers itself.
//!
//! A raw socket of the host sees every ICMP message for any address. Echo requests go out by a ping socket of the machine, or a raw
//! one, whichever it allows; each identifier and destination is a flow with a socket of its own. Where the machine
//! allows neither, the answer is "prohibited" (RFC 1812 §5.2.7.1).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use wireway_engine::Context;
use wireway_packet::Instant;
use wireway_stack::{DatagramInfo, Domain, Error, Host, Kind, ReceiveFlags, SocketId, SocketOption};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{Icmpv4Header, Icmpv4Type, Sum};

use crate::address::{Far, Map};
use crate::counters::{Counters, count};
use crate::outer::{self, Echo};
use crate::table::{Part, Table};

/// How long a flow lasts after its last message (RFC 5508 §3.2: at least 60 seconds).
const IDLE: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(10);
/// Flows at a time.
const FLOWS: usize = 256;
const BATCH: usize = 64;
/// The longest IP packet and one byte.
const BUFFER: usize = 1 << 16;

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
    /// The latest request, for an ICMP error to quote.
    sent: (DatagramInfo, [u8; 8]),
}

/// The echo relay.
pub(crate) struct Icmp {
    socket: SocketId,
    flows: Table<Flow>,
    by_ends: HashMap<(IpAddr, IpAddr, u16), u64>,
    next_ident: u16,
    more: bool,
    sweep_at: Option<Instant>,
    buffer: Box<[u8]>,
}

impl Icmp {
    /// Sees ICMP messages to every destination. `ident` is where identifiers begin.
    pub fn new(host: &mut Host, now: Instant, ident: u16) -> wireway_stack::Result<Icmp> {
        let socket = host.socket(Domain::Inet, Kind::Raw(1))?;
        host.set_option(now, socket, SocketOption::Transparent(true))?;
        Ok(Icmp {
            socket,
            flows: Table::new(Part::Icmp),
            by_ends: HashMap::new(),
            next_ident: ident,
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

    /// The program may have sent something.
    pub fn event(&mut self, cx: &mut Context<'_>, map: &Map, counters: &Counters) {
        self.more = false;
        for _ in 0..BATCH {
            let mut buffer = std::mem::take(&mut self.buffer);
            let outcome = cx.host.recv_from(self.socket, &mut buffer, ReceiveFlags::default());
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
        self.more = true;
    }

    fn message(
        &mut self,
        cx: &mut Context<'_>,
        info: &DatagramInfo,
        message: &mut [u8],
        map: &Map,
        counters: &Counters,
    ) {
        if info.destination.ip() == IpAddr::V4(map.gateway) {
            return;
        }
        let Ok((header, _)) = Icmpv4Header::parse(message) else { return count(&counters.icmp_ignored) };
        if header.kind != Icmpv4Type::ECHO_REQUEST || header.code != 0 || !Sum::of(message).is_valid() {
            return count(&counters.icmp_ignored);
        }
        let ident = u16::from_be_bytes([header.rest[0], header.rest[1]]);
        let mut head = [0; 8];
        head.copy_from_slice(header.as_bytes());
        match map.far(info.destination) {
            Far::Machine(peer) => {
                let IpAddr::V4(peer) = peer.ip() else { return };
                if let Err(error) = self.send_out(cx, info, message, head, ident, peer) {
                    let denied = matches!(error, Errno::ACCESS | Errno::PERM);
                    count(if denied { &counters.icmp_prohibited } else { &counters.icmp_unreachable });
                    if let Some(code) = outer::unreachable_code(error) {
                        let _ = cx.host.send_unreachable(cx.now, self.socket, info, &head, code);
                    }
                } else {
                    count(&counters.icmp_echo_out);
                }
            }
            Far::Unreachable(code) => {
                count(&counters.icmp_unreachable);
                let _ = cx.host.send_unreachable(cx.now, self.socket, info, &head, code);
            }
            // The DNS address is an address of the host, which answers; broadcast is not relayed.
            Far::Resolver | Far::Closed | Far::Many => {}
        }
    }

    fn send_out(
        &mut self,
        cx: &mut Context<'_>,
        info: &DatagramInfo,
        message: &mut [u8],
        head: [u8; 8],
        ident: u16,
        peer: Ipv4Addr,
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
                    sent: (*info, head),
                });
                if let Some(flow) = self.flows.get(token)
                    && cx.register(flow.fd.as_fd(), token, wireway_engine::Interest::IN).is_err()
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
        // A ping socket sets both by itself.
        set_ident(message, flow.outer_ident);
        outer::send(&flow.fd, message).map(|_| ())
    }

    /// A flow's socket is ready.
    pub fn ready(&mut self, cx: &mut Context<'_>, token: u64, counters: &Counters) {
        for _ in 0..BATCH {
            let Some(flow) = self.flows.get_mut(token) else { return };
            let n = match outer::recv(&flow.fd, &mut self.buffer) {
                Ok(n) => n,
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    if let Some(code) = outer::unreachable_code(error) {
                        count(&counters.icmp_unreachable);
                        let _ = cx.host.send_unreachable(cx.now, self.socket, &flow.sent.0, &flow.sent.1, code);
                    }
                    continue;
                }
            };
            let Some(received) = self.buffer.get_mut(..n) else { continue };
            let Some(message) = reply(received, flow.echo, flow.outer_ident) else { continue };
            flow.used = cx.now;
            set_ident(message, flow.ident);
            let (program, far) = (SocketAddr::new(flow.program, 0), SocketAddr::new(flow.far, 0));
            if cx.host.send_to(cx.now, self.socket, message, Some(program), Some(far)).is_ok() {
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

    /// Ends idle flows. True if the program has sent more.
    pub fn poll(&mut self, now: Instant) -> bool {
        if self.sweep_at.is_some_and(|at| at <= now) {
            let idle: Vec<u64> =
                self.flows.iter().filter(|(_, flow)| flow.used + IDLE <= now).map(|(token, _)| token).collect();
            for token in idle {
                self.remove(token);
            }
            self.sweep_at = (self.flows.len() > 0).then_some(now + SWEEP);
        }
        self.more
    }

    pub fn poll_at(&self) -> Option<Instant> {
        if self.more { Some(Instant::ZERO) } else { self.sweep_at }
    }
}

/// The echo reply in what a socket received, if it is one for this flow.
fn reply(received: &mut [u8], echo: Echo, ident: u16) -> Option<&mut [u8]> {
    let start = match echo {
        Echo::Ping => 0,
        Echo::Raw => usize::from(received.first()? & 0x0f) * 4,
    };
    let message = received.get_mut(start..)?;
    let (header, _) = Icmpv4Header::parse(message).ok()?;
    let own = echo == Echo::Ping || header.rest[..2] == ident.to_be_bytes();
    (header.kind == Icmpv4Type::ECHO_REPLY && own).then_some(message)
}

/// Sets an echo message's identifier, and its checksum.
fn set_ident(message: &mut [u8], ident: u16) {
    let Some((head, _)) = message.split_first_chunk_mut::<8>() else { return };
    [head[4], head[5]] = ident.to_be_bytes();
    [head[2], head[3]] = [0; 2];
    let sum = Sum::of(message).finish().to_be_bytes();
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_recognised() {
        let mut message = vec![0, 0, 0, 0, 0x12, 0x34, 0, 1, b'x'];
        set_ident(&mut message, 0x1234);
        assert!(Sum::of(&message).is_valid());
        let mut raw = vec![0x45; 20];
        raw.extend(&message);
        assert!(reply(&mut raw, Echo::Raw, 0x1234).is_some());
        assert!(reply(&mut raw, Echo::Raw, 0x1235).is_none());
        assert!(reply(&mut message.clone(), Echo::Ping, 0).is_some());
        message[0] = 8;
        assert!(reply(&mut message, Echo::Ping, 0).is_none());
    }

    #[test]
    fn what_is_too_short_is_no_reply() {
        for length in 0..28 {
            let mut short = vec![0x4f; length];
            assert!(reply(&mut short, Echo::Raw, 0x4f4f).is_none());
        }
    }
}
