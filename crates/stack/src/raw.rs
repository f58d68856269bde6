//! Ping sockets (ICMP echo by datagrams, the identifier as the port) and raw sockets (all of one IP protocol).

use core::net::{IpAddr, SocketAddr};

use slab::Slab;
use smallvec::SmallVec;
use wireway_packet::software::complete_checksum;
use wireway_packet::{Instant, Packet};
use wireway_wire::{Icmpv4Header, Icmpv4Type, Icmpv6Type, Ipv4Header, Ipv6Header, Protocol, Sum};

use crate::counters::{Counter, DropReason};
use crate::event::Ready;
use crate::net::{Complaint, IcmpError, Inbound, IpMeta, Net, RouteKind};
use crate::rng::Map;
use crate::socket::address::{covers, scope, to_bind, to_destination, unspecified};
use crate::socket::datagram::DatagramSocket;
use crate::socket::multicast::Multicast;
use crate::socket::port::{Binding, Ports, Rules};
use crate::socket::{
    DatagramInfo, Domain, Kind, RawOptions, ReceiveFlags, Shutdown, SocketFamily, SocketId, SocketOption, SocketOptions,
};
use crate::udp::complain;
use crate::{Error, MtuDiscover, Result};

struct Socket {
    common: DatagramSocket,
    kind: Kind,
    /// The address that bind set.
    address: Option<IpAddr>,
    options: RawOptions,
    /// Ping: the identifier it holds.
    ident: Option<(u16, Binding)>,
}

type Indices = SmallVec<[u32; 2]>;

/// Raw and ping sockets of a host.
pub(crate) struct Raw {
    sockets: Slab<Socket>,
    by_protocol: Map<u8, Indices>,
    by_ident: Map<u16, Indices>,
    idents: Ports,
    next_generation: u32,
}

impl Raw {
    pub fn new(net: &mut Net) -> Raw {
        Raw {
            sockets: Slab::new(),
            by_protocol: net.rng.map(),
            by_ident: net.rng.map(),
            idents: Ports::new(Rules::Udp, &mut net.rng),
            next_generation: 0,
        }
    }

    /// Sockets there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    fn get(&self, id: SocketId) -> Result<&Socket> {
        self.sockets.get(id.index as usize).filter(|s| s.common.id == id).ok_or(Error::BadDescriptor)
    }

    fn get_mut(&mut self, id: SocketId) -> Result<&mut Socket> {
        self.sockets.get_mut(id.index as usize).filter(|s| s.common.id == id).ok_or(Error::BadDescriptor)
    }

    // Packets in.

    /// Gives each raw socket of the protocol a copy; whether any took one.
    #[inline(always)]
    pub fn receive(&mut self, net: &mut Net, inbound: &Inbound) -> bool {
        !self.by_protocol.is_empty() && self.receive_copies(net, inbound)
    }

    fn receive_copies(&mut self, net: &mut Net, inbound: &Inbound) -> bool {
        let Some(indices) = self.by_protocol.get(&inbound.protocol) else { return false };
        let (group, source) = (inbound.destination(), inbound.source());
        // What asks who is in a group is for all.
        let heard = !group.is_multicast()
            || Protocol(inbound.protocol) == Protocol::IGMP
            || net.hears(inbound.interface, group, source);
        let mut taken = false;
        for &index in indices {
            let Some(socket) = self.sockets.get_mut(index as usize) else { continue };
            let common = &mut socket.common;
            let fits = common.takes_from(inbound.interface)
                && is_of(common.domain, inbound.destination())
                && covers(common.local.ip(), common.options.v6_only, inbound.destination())
                && common.peer.is_none_or(|peer| peer.ip() == source)
                && (!group.is_multicast() || heard && common.multicast.takes(inbound.interface, group, source))
                && passes_filter(&socket.options, inbound);
            if fits {
                // RFC 3542 §3.1: the others' checksums are the program's to look at.
                if checksum_at(inbound.protocol, common.domain, &socket.options).is_some()
                    && !inbound.checksum_is_valid()
                {
                    net.counters.drop(DropReason::SocketChecksum);
                    continue;
                }
                let mut packet = inbound.packet.clone();
                complete_checksum(&mut packet);
                common.enqueue(net, Inbound { packet, options: None, ..*inbound }, 0, 0);
                taken = true;
            }
        }
        taken
    }

    /// Gives an echo reply to the ping sockets that have its identifier.
    pub fn receive_echo_reply(&mut self, net: &mut Net, inbound: Inbound, copied: bool) {
        let ident = Icmpv4Header::parse(inbound.packet.head()).map(|(header, _)| header.ident()).unwrap_or_default();
        let found = self.by_ident.get(&ident).into_iter().flatten().copied().find(|&index| {
            self.sockets.get(index as usize).is_some_and(|socket| {
                let common = &socket.common;
                common.takes_from(inbound.interface)
                    && is_of(common.domain, inbound.destination())
                    && covers(common.local.ip(), common.options.v6_only, inbound.destination())
            })
        });
        match found.and_then(|index| self.sockets.get_mut(index as usize)) {
            Some(socket) => {
                socket.common.enqueue(net, inbound, ident, ident);
            }
            None if copied => {}
            None => net.drop_packet(DropReason::NoSocket, inbound.packet),
        }
    }

    /// An ICMP error about a packet that was sent.
    pub fn icmp_error(&mut self, net: &mut Net, now: Instant, error: &IcmpError<'_>) {
        let echo = match (Protocol(error.protocol), error.quoted.first()) {
            (Protocol::ICMP, Some(&kind)) => kind == Icmpv4Type::ECHO_REQUEST.0,
            (Protocol::ICMPV6, Some(&kind)) => kind == Icmpv6Type::ECHO_REQUEST.0,
            _ => false,
        };
        let ident = match error.quoted {
            &[_, _, _, _, a, b, ..] if echo => Some(u16::from_be_bytes([a, b])),
            _ => None,
        };
        let pings = ident.and_then(|ident| self.by_ident.get(&ident)).into_iter().flatten();
        let raws = self.by_protocol.get(&error.protocol).into_iter().flatten();
        for &index in pings.chain(raws) {
            let Some(socket) = self.sockets.get_mut(index as usize) else { continue };
            let common = &mut socket.common;
            if !is_of(common.domain, error.source) || !covers(common.local.ip(), common.options.v6_only, error.source) {
                continue;
            }
            // A raw socket that is connected elsewhere sent none of it.
            if common.peer.is_some_and(|peer| peer.ip() != error.destination) {
                continue;
            }
            let port = if socket.kind == Kind::Ping { ident.unwrap_or(0) } else { 0 };
            common.receive_error(net, now, error, SocketAddr::new(error.destination, port), error.quoted);
        }
    }

    // Packets out.

    pub fn send_to(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        data: &[u8],
        peer: Option<SocketAddr>,
        source: Option<SocketAddr>,
    ) -> Result<usize> {
        let socket = self.get_mut(id)?;
        let common = &mut socket.common;
        // As on Linux, a raw socket tells its pending error otherwise, unless it writes whole packets.
        if socket.kind == Kind::Ping || socket.options.header_included {
            common.check_send()?;
        } else {
            common.check_open_for_sending()?;
        }
        let peer = match (peer, common.peer) {
            (Some(peer), _) => to_own_family(common, peer)?,
            (None, Some(peer)) => peer,
            (None, None) => return Err(Error::DestinationRequired),
        };
        let v6 = peer.is_ipv6();
        if data.len() > max_payload(v6) {
            return Err(Error::MessageTooLong);
        }
        let (kind, raw_options, options) = (socket.kind, socket.options, common.options);
        if kind == Kind::Ping {
            self.check_echo_request(v6, data)?;
            self.ident(net, id)?;
        }
        let socket = self.get(id)?;
        let common = &socket.common;
        let device = common.device_to(net, &peer)?;
        let route = net.route(peer.ip(), device)?;
        if route.kind == RouteKind::Broadcast && !options.broadcast {
            return Err(Error::AccessDenied);
        }
        let mut local = common.local.ip();
        if let Some(source) = source {
            local = to_bind(net, common.domain, options.v6_only, options.transparent, source)?.ip();
        }
        local = common.source_by(net, &route, local);
        let protocol = protocol(kind, v6);
        let hops = common.hops_to(net, peer.ip(), device);
        let mut meta = IpMeta {
            tos: options.class(v6),
            ignore_path_mtu: options.mtu_discover == MtuDiscover::Probe,
            interface: device,
            foreign: options.transparent,
            ..IpMeta::new(local, peer.ip(), protocol, hops)
        };
        let mut packet = Packet::copy_from(data);
        let sent = if raw_options.header_included && !v6 {
            net.send_with_header(now, &meta, packet)
        } else {
            let header_len = if v6 { Ipv6Header::LEN } else { Ipv4Header::LEN };
            meta.dont_fragment = common.dont_fragment(&route, header_len + data.len())?;
            meta.flow_label = net.flow_label(local, peer.ip(), protocol, (0, 0));
            if let (Kind::Ping, Some((ident, _))) = (kind, socket.ident)
                && let Some([_, _, _, _, high, low, ..]) = packet.pullup(Icmpv4Header::LEN)
            {
                [*high, *low] = ident.to_be_bytes();
            }
            if let Some(at) = if kind == Kind::Ping {
                Some(ICMP_CHECKSUM)
            } else {
                checksum_at(protocol, common.domain, &raw_options)
            } {
                fill_checksum(&mut packet, at, &meta)?;
            }
            if matches!(Protocol(protocol), Protocol::ICMP | Protocol::ICMPV6) {
                net.counters.count(Counter::IcmpOutMsgs.of_family(v6));
            }
            if kind == Kind::Ping {
                net.counters.count(Counter::IcmpOutEchos.of_family(v6));
            }
            common.send(net, now, &route, &meta, packet)
        };
        match sent {
            Ok(()) | Err(Error::NoBuffers) => Ok(data.len()),
            Err(error) => Err(error),
        }
    }

    /// What a ping socket may send: an echo request, whose identifier and checksum become the socket's (as Linux's ping sockets do).
    fn check_echo_request(&self, v6: bool, data: &[u8]) -> Result<()> {
        let request = if v6 { Icmpv6Type::ECHO_REQUEST.0 } else { Icmpv4Type::ECHO_REQUEST.0 };
        match data {
            &[kind, 0, _, _, _, _, _, _, ..] if kind == request => Ok(()),
            _ => Err(Error::InvalidArgument),
        }
    }

    /// Answers what a transparent raw socket took with an ICMP error, quoting `head`.
    pub fn complain(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        datagram: &DatagramInfo,
        head: &[u8],
        complaint: Complaint,
    ) -> Result<()> {
        let socket = self.get(id)?;
        let Kind::Raw(protocol) = socket.kind else { return Err(Error::NotSupported) };
        if !socket.common.options.transparent {
            return Err(Error::NotPermitted);
        }
        complain(net, now, datagram, Protocol(protocol), head, datagram.len, complaint)
    }

    // Socket calls.

    pub fn socket(&mut self, net: &mut Net, domain: Domain, kind: Kind) -> Result<SocketId> {
        self.next_generation = self.next_generation.wrapping_add(1);
        let index = self.sockets.vacant_key() as u32;
        let id = SocketId { family: SocketFamily::Raw, index, generation: self.next_generation };
        let common = DatagramSocket::new(id, domain, &net.settings);
        // raw(7): IPPROTO_RAW implies it.
        let header_included = kind == Kind::Raw(Protocol::RAW.0) && domain == Domain::Inet;
        let options = RawOptions { header_included, ..RawOptions::default() };
        self.sockets.insert(Socket { common, kind, address: None, options, ident: None });
        if let Kind::Raw(protocol) = kind {
            self.by_protocol.entry(protocol).or_default().push(index);
        }
        Ok(id)
    }

    pub fn bind(&mut self, net: &mut Net, id: SocketId, address: SocketAddr) -> Result<()> {
        let socket = self.get_mut(id)?;
        let options = &socket.common.options;
        let device = scope(net, &address, options.bind_to_device)?;
        let address = to_bind(net, socket.common.domain, options.v6_only, options.transparent, address)?;
        if socket.kind != Kind::Ping || socket.ident.is_none() {
            socket.common.options.bind_to_device = device;
        }
        if socket.kind != Kind::Ping {
            socket.common.local.set_ip(address.ip());
            socket.address = Some(address.ip());
            return Ok(());
        }
        if socket.ident.is_some() {
            return Err(Error::InvalidArgument);
        }
        socket.common.local = address;
        socket.address = Some(address.ip());
        if self.ident(net, id).is_err() {
            let socket = self.get_mut(id)?;
            socket.common.local = SocketAddr::new(unspecified(socket.common.domain), 0);
            socket.address = None;
            return Err(Error::AddressInUse);
        }
        Ok(())
    }

    /// The identifier of a ping socket: the one it has, or the port of its address, or if that is 0 a free one.
    fn ident(&mut self, net: &mut Net, id: SocketId) -> Result<u16> {
        let socket = self.sockets.get_mut(id.index as usize).ok_or(Error::BadDescriptor)?;
        if let Some((ident, _)) = socket.ident {
            return Ok(ident);
        }
        let options = &socket.common.options;
        let binding = Binding {
            // An identifier is one socket's, whatever its address (as on Linux).
            address: unspecified(socket.common.domain),
            v6_only: options.v6_only,
            device: None,
            reuse_address: options.reuse_address,
            reuse_port: false,
            listening: false,
            by_connect: false,
        };
        let ident = match socket.common.local.port() {
            0 => self.idents.bind_any(&mut net.rng, (1, u16::MAX), binding)?,
            ident => {
                self.idents.bind(ident, binding)?;
                ident
            }
        };
        socket.ident = Some((ident, binding));
        socket.common.local.set_port(ident);
        self.by_ident.entry(ident).or_default().push(id.index);
        Ok(ident)
    }

    pub fn connect(&mut self, net: &mut Net, _now: Instant, id: SocketId, peer: SocketAddr) -> Result<()> {
        let socket = self.get_mut(id)?;
        let common = &socket.common;
        let peer = to_own_family(common, peer)?;
        let device = scope(net, &peer, common.options.bind_to_device)?;
        let route = net.route(peer.ip(), device)?;
        if route.kind == RouteKind::Broadcast && !common.options.broadcast {
            return Err(Error::AccessDenied);
        }
        if socket.kind == Kind::Ping {
            self.ident(net, id)?;
        }
        let socket = self.get_mut(id)?;
        let bound = socket.address.filter(|ip| !ip.is_unspecified());
        socket.common.local.set_ip(bound.unwrap_or(route.source));
        socket.common.peer = Some(peer);
        socket.common.options.bind_to_device = device;
        Ok(())
    }

    pub fn disconnect(&mut self, _net: &mut Net, _now: Instant, id: SocketId) -> Result<()> {
        let socket = self.get_mut(id)?;
        let address = socket.address.unwrap_or(unspecified(socket.common.domain));
        socket.common.local.set_ip(address);
        socket.common.peer = None;
        Ok(())
    }

    pub fn recv_from(
        &mut self,
        _net: &mut Net,
        id: SocketId,
        buffer: &mut [u8],
        flags: ReceiveFlags,
    ) -> Result<DatagramInfo> {
        self.get_mut(id)?.common.recv_from(buffer, flags)
    }

    /// What the socket has in common with other kinds.
    pub fn datagram(&mut self, id: SocketId) -> Result<&mut DatagramSocket> {
        Ok(&mut self.get_mut(id)?.common)
    }

    pub fn take_event(&mut self, id: SocketId) -> Option<Ready> {
        Some(self.get_mut(id).ok()?.common.take_event())
    }

    pub fn recv_available(&self, id: SocketId) -> usize {
        self.get(id).map_or(0, |socket| socket.common.recv_available())
    }

    pub fn shutdown(&mut self, net: &mut Net, _now: Instant, id: SocketId, how: Shutdown) -> Result<()> {
        self.get_mut(id)?.common.shutdown(net, how)
    }

    pub fn close(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        self.get(id)?;
        let mut socket = self.sockets.remove(id.index as usize);
        socket.common.close(net, now);
        if let Kind::Raw(protocol) = socket.kind {
            remove(&mut self.by_protocol, protocol, id.index);
        }
        if let Some((ident, binding)) = socket.ident {
            remove(&mut self.by_ident, ident, id.index);
            self.idents.release(ident, &binding);
        }
        Ok(())
    }

    pub fn ready(&self, id: SocketId) -> Ready {
        self.get(id).map_or(Ready::empty(), |socket| socket.common.ready())
    }

    pub fn take_error(&mut self, id: SocketId) -> Option<Error> {
        self.get_mut(id).ok()?.common.take_error()
    }

    pub fn local_addr(&self, id: SocketId) -> Result<SocketAddr> {
        self.get(id).map(|socket| socket.common.local_addr())
    }

    pub fn peer_addr(&self, id: SocketId) -> Result<SocketAddr> {
        self.get(id)?.common.peer_addr()
    }

    pub fn set_option(&mut self, net: &mut Net, now: Instant, id: SocketId, option: SocketOption) -> Result<()> {
        let socket = self.get_mut(id)?;
        let (domain, raw) = (socket.common.domain, matches!(socket.kind, Kind::Raw(_)));
        let options = &mut socket.options;
        match option {
            SocketOption::HeaderIncluded(on) if raw && domain == Domain::Inet => options.header_included = on,
            // RFC 3542 §3.1: ICMPv6's is not the program's to choose, and an odd place is none.
            SocketOption::ChecksumAt(at) if raw && domain == Domain::Inet6 => {
                if socket.kind == Kind::Raw(Protocol::ICMPV6.0) || at.is_some_and(|at| at % 2 == 1) {
                    return Err(Error::InvalidArgument);
                }
                options.checksum_at = at;
            }
            SocketOption::IcmpFilter(filter)
                if socket.kind == Kind::Raw(protocol(Kind::Ping, domain == Domain::Inet6)) =>
            {
                options.icmp_filter = filter;
            }
            other => return socket.common.set_option(net, now, other),
        }
        Ok(())
    }

    pub fn multicast(&self, id: SocketId) -> Result<&Multicast> {
        self.get(id).map(|socket| &socket.common.multicast)
    }

    pub fn multicast_mut(&mut self, id: SocketId) -> Result<&mut Multicast> {
        self.get_mut(id).map(|socket| &mut socket.common.multicast)
    }

    pub fn raw_options(&self, id: SocketId) -> Result<RawOptions> {
        self.get(id).map(|socket| socket.options)
    }

    pub fn options(&self, id: SocketId) -> Result<SocketOptions> {
        self.get(id).map(|socket| socket.common.options)
    }
}

/// A destination of the socket's own family, which is the only one that these sockets carry: ENETUNREACH.
fn to_own_family(common: &DatagramSocket, peer: SocketAddr) -> Result<SocketAddr> {
    let peer = to_destination(common.domain, common.options.v6_only, peer)?;
    if is_of(common.domain, peer.ip()) { Ok(peer) } else { Err(Error::NetworkUnreachable) }
}

fn is_of(domain: Domain, address: IpAddr) -> bool {
    address.is_ipv6() == (domain == Domain::Inet6)
}

/// IP's 65,535 bytes without the header, where IPv6 does not count its own.
fn max_payload(v6: bool) -> usize {
    65_535 - if v6 { 0 } else { Ipv4Header::LEN }
}

fn protocol(kind: Kind, v6: bool) -> u8 {
    match kind {
        Kind::Raw(protocol) => protocol,
        _ if v6 => Protocol::ICMPV6.0,
        _ => Protocol::ICMP.0,
    }
}

/// Where ICMP and ICMPv6 have their checksum.
const ICMP_CHECKSUM: u16 = 2;

/// Where the stack computes and looks at the checksum of a raw socket's messages: RFC 3542 §3.1.
fn checksum_at(protocol: u8, domain: Domain, options: &RawOptions) -> Option<u16> {
    match domain {
        Domain::Inet => None,
        Domain::Inet6 if protocol == Protocol::ICMPV6.0 => Some(ICMP_CHECKSUM),
        Domain::Inet6 => options.checksum_at,
    }
}

/// Fills in a checksum at `at`, with the pseudo header for IPv6. EINVAL if the packet is too short to have it.
fn fill_checksum(packet: &mut Packet, at: u16, meta: &IpMeta) -> Result<()> {
    let at = usize::from(at);
    let len = packet.len() as u32;
    let pseudo = match (meta.source, meta.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Sum::pseudo_v6(source, destination, Protocol(meta.protocol), len)
        }
        _ => Sum::new(),
    };
    let mut put = |value: u16| match packet.pullup(at + 2).and_then(|head| head.get_mut(at..)) {
        Some(field) => {
            field.copy_from_slice(&value.to_be_bytes());
            Ok(packet.sum(0, pseudo).finish())
        }
        None => Err(Error::InvalidArgument),
    };
    let checksum = put(0)?;
    put(checksum)?;
    Ok(())
}

/// ICMP_FILTER, ICMP6_FILTER.
fn passes_filter(options: &RawOptions, inbound: &Inbound) -> bool {
    let v6 = inbound.header.is_v6();
    let icmp = if v6 { Protocol::ICMPV6.0 } else { Protocol::ICMP.0 };
    let kind = inbound.packet.parts().next().and_then(|part| part.first());
    let (Some(&kind), true) = (kind, inbound.protocol == icmp) else { return true };
    let words = if v6 { &options.icmp_filter[..] } else { &options.icmp_filter[..1] };
    words.get(usize::from(kind >> 5)).is_none_or(|word| word & 1 << (kind & 31) == 0)
}

fn remove<K: core::hash::Hash + Eq>(table: &mut Map<K, Indices>, key: K, index: u32) {
    if let Some(indices) = table.get_mut(&key) {
        indices.retain(|&mut i| i != index);
        if indices.is_empty() {
            table.remove(&key);
        }
    }
}
