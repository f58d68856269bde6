//! UDP (RFC 768, RFC 1122 §4.1): datagrams in and out, and the calls of its sockets.

pub(crate) mod lite;
mod table;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use slab::Slab;
use wireway_packet::software::UDP_CHECKSUM_OFFSET;
use wireway_packet::{Checksum, Instant, Packet};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{Ipv4Header, Ipv6Header, Malformed, Protocol, Sum, UdpHeader};

use crate::counters::{Counter, DropReason};
use crate::event::Ready;
use crate::net::{Complaint, IcmpError, Inbound, IpMeta, Net, RouteKind, quote_again};
use crate::socket::address::{is_one_v6, scope, to_bind, to_destination, unspecified};
use crate::socket::datagram::DatagramSocket;
use crate::socket::multicast::Multicast;
use crate::socket::port::{Binding, Ports, Rules};
use crate::socket::{
    DatagramInfo, Domain, ReceiveFlags, Shutdown, SocketFamily, SocketId, SocketOption, SocketOptions,
};
use crate::{Error, MtuDiscover, Result};

use lite::Coverage;
use table::{Key, Place, Table};

/// The longest payload: IP's 65,535 bytes without the headers, where IPv6 does not count its own.
fn max_payload(v6: bool) -> usize {
    65_535 - UdpHeader::LEN - if v6 { 0 } else { Ipv4Header::LEN }
}

/// A socket's port and place, as far as it has them.
#[derive(Default)]
struct Held {
    port: Option<(u16, Binding)>,
    place: Option<Place>,
    /// The port was asked for by bind, and so stays when the socket is disconnected.
    by_bind: bool,
    /// The address that bind set.
    address: Option<IpAddr>,
    /// It is a UDP-Lite socket, with this coverage.
    lite: Option<Coverage>,
}

/// What UDP and UDP-Lite have each.
struct Ends {
    table: Table,
    ports: Ports,
}

/// UDP and UDP-Lite of a host.
pub(crate) struct Udp {
    sockets: Slab<DatagramSocket>,
    /// By the same indices.
    held: Slab<Held>,
    udp: Ends,
    lite: Ends,
    next_generation: u32,
}

impl Udp {
    /// Whether a socket would receive what is sent to this address.
    pub fn has_port(&self, address: SocketAddr) -> bool {
        self.udp.ports.serves(address)
    }

    pub fn new(net: &mut Net) -> Udp {
        let mut ends = || Ends { table: Table::new(&mut net.rng), ports: Ports::new(Rules::Udp, &mut net.rng) };
        Udp { sockets: Slab::new(), held: Slab::new(), udp: ends(), lite: ends(), next_generation: 0 }
    }

    fn ends(&self, lite: bool) -> &Ends {
        if lite { &self.lite } else { &self.udp }
    }

    fn ends_mut(&mut self, lite: bool) -> &mut Ends {
        if lite { &mut self.lite } else { &mut self.udp }
    }

    /// The coverage of a UDP-Lite socket.
    pub fn coverage(&self, id: SocketId) -> Option<Coverage> {
        self.get(id).ok().and_then(|_| self.held.get(id.index as usize)?.lite)
    }

    fn get(&self, id: SocketId) -> Result<&DatagramSocket> {
        self.sockets.get(id.index as usize).filter(|s| s.id == id).ok_or(Error::BadDescriptor)
    }

    fn parts(&mut self, id: SocketId) -> Result<(&mut DatagramSocket, &mut Held)> {
        let index = id.index as usize;
        let socket = self.sockets.get_mut(index).filter(|s| s.id == id).ok_or(Error::BadDescriptor)?;
        Ok((socket, self.held.get_mut(index).ok_or(Error::BadDescriptor)?))
    }

    /// Sockets there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    // Datagrams in.

    pub fn receive(&mut self, net: &mut Net, now: Instant, mut inbound: Inbound) {
        let len = inbound.packet.len();
        let v6 = inbound.header.is_v6();
        let head = inbound.packet.pullup(UdpHeader::LEN).map(|head| &*head).unwrap_or_default();
        let Ok(&header) = UdpHeader::parse_head(head, len) else {
            net.counters.count(Counter::UdpInErrors.of_family(v6));
            return net.drop_packet(DropReason::UdpMalformed, inbound.packet);
        };
        inbound.packet.truncate(header.length.get().into());
        // RFC 8200 §8.1: with IPv6 there must be one (no socket asks for RFC 6935's exception).
        let valid = if header.has_checksum() { inbound.checksum_is_valid() } else { !v6 };
        if !valid {
            net.counters.count(Counter::UdpInCsumErrors.of_family(v6));
            net.counters.count(Counter::UdpInErrors.of_family(v6));
            return net.drop_packet(DropReason::UdpChecksum, inbound.packet);
        }
        self.find_and_deliver(net, now, inbound, &header, None);
    }

    /// A UDP-Lite datagram (RFC 3828).
    pub fn receive_lite(&mut self, net: &mut Net, now: Instant, mut inbound: Inbound) {
        let v6 = inbound.header.is_v6();
        let pseudo = inbound.pseudo();
        match lite::check(&mut inbound.packet, pseudo) {
            Ok((header, covered)) => self.find_and_deliver(net, now, inbound, &header, Some(covered)),
            Err(fault) => {
                net.counters.count(Counter::UdpInErrors.of_family(v6));
                let reason = match fault {
                    Malformed::BadChecksum => DropReason::UdpChecksum,
                    _ => DropReason::UdpMalformed,
                };
                net.drop_packet(reason, inbound.packet);
            }
        }
    }

    /// `covered`: of a UDP-Lite datagram, how much of it was checked.
    #[inline(always)]
    fn find_and_deliver(
        &mut self,
        net: &mut Net,
        now: Instant,
        inbound: Inbound,
        header: &UdpHeader,
        covered: Option<usize>,
    ) {
        let key = Key {
            local: SocketAddr::new(inbound.destination(), header.dst_port.get()),
            peer: SocketAddr::new(inbound.source(), header.src_port.get()),
            interface: inbound.interface,
            own: inbound.local,
        };
        if net.is_broadcast(inbound.destination()) {
            return self.receive_group(net, inbound, &key, covered);
        }
        match self.ends(covered.is_some()).table.find(&self.sockets, &key) {
            Some(index) => self.deliver(net, inbound, &key, index, covered),
            None => {
                net.counters.count(Counter::UdpNoPorts.of_family(inbound.header.is_v6()));
                net.refuse_port(now, inbound);
            }
        }
    }

    fn receive_group(&mut self, net: &mut Net, inbound: Inbound, key: &Key, covered: Option<usize>) {
        let (group, source) = (inbound.destination(), inbound.source());
        if group.is_multicast() && !net.hears(inbound.interface, group, source) {
            return net.drop_packet(DropReason::IpMulticast, inbound.packet);
        }
        let all = self.ends(covered.is_some()).table.find_all(&self.sockets, key);
        let Some((&last, others)) = all.split_last() else {
            net.counters.count(Counter::UdpIgnoredMulti.of_family(inbound.header.is_v6()));
            return net.drop_packet(DropReason::NoSocket, inbound.packet);
        };
        for &index in others {
            let copy = Inbound { packet: inbound.packet.clone(), options: None, ..inbound };
            self.deliver(net, copy, key, index, covered);
        }
        self.deliver(net, inbound, key, last, covered);
    }

    fn deliver(&mut self, net: &mut Net, mut inbound: Inbound, key: &Key, index: u32, covered: Option<usize>) {
        let Some(socket) = self.sockets.get_mut(index as usize) else { return };
        let v6 = inbound.header.is_v6();
        if let (Some(covered), Some(Held { lite: Some(wanted), .. })) = (covered, self.held.get(index as usize))
            && !wanted.accepts(inbound.packet.len(), covered)
        {
            net.counters.count(Counter::UdpInErrors.of_family(v6));
            return net.drop_packet(DropReason::UdpChecksum, inbound.packet);
        }
        inbound.packet.trim_front(UdpHeader::LEN);
        if socket.enqueue(net, inbound, key.peer.port(), key.local.port()) {
            net.counters.count(Counter::UdpInDatagrams.of_family(v6));
        } else {
            net.counters.count(Counter::UdpRcvbufErrors.of_family(v6));
            net.counters.count(Counter::UdpInErrors.of_family(v6));
        }
    }

    /// An ICMP error about a datagram that was sent (RFC 1122 §4.1.3.3).
    pub fn icmp_error(&mut self, net: &mut Net, now: Instant, error: &IcmpError<'_>) {
        let &[a, b, c, d, ..] = error.quoted else { return };
        let key = Key {
            local: SocketAddr::new(error.source, u16::from_be_bytes([a, b])),
            peer: SocketAddr::new(error.destination, u16::from_be_bytes([c, d])),
            interface: error.interface,
            own: net.is_local(error.source),
        };
        let lite = error.protocol == Protocol::UDP_LITE.0;
        let Some(index) = self.ends(lite).table.find(&self.sockets, &key) else {
            return net.counters.count(Counter::IcmpInErrors.of_family(error.source.is_ipv6()));
        };
        let Some(socket) = self.sockets.get_mut(index as usize) else { return };
        let payload = error.quoted.get(UdpHeader::LEN..).unwrap_or_default();
        socket.receive_error(net, now, error, key.peer, payload);
    }

    // Datagrams out.

    pub fn send_to(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        data: &[u8],
        peer: Option<SocketAddr>,
        source: Option<SocketAddr>,
    ) -> Result<usize> {
        let (socket, _) = self.parts(id)?;
        socket.check_send()?;
        let peer = match (peer, socket.peer) {
            (Some(peer), _) => to_destination(socket.domain, socket.options.v6_only, peer)?,
            (None, Some(peer)) => peer,
            (None, None) => return Err(Error::DestinationRequired),
        };
        if peer.port() == 0 {
            return Err(Error::InvalidArgument);
        }
        let v6 = peer.is_ipv6();
        if data.len() > max_payload(v6) {
            return Err(Error::MessageTooLong);
        }
        if source.is_none_or(|source| source.port() == 0) {
            self.bind_any(net, id)?;
        }
        let coverage = self.coverage(id);
        let protocol = if coverage.is_some() { Protocol::UDP_LITE } else { Protocol::UDP };
        let socket = self.get(id)?;
        let options = &socket.options;
        let device = socket.device_to(net, &peer)?;
        let route = net.route(peer.ip(), device)?;
        if route.kind == RouteKind::Broadcast && !options.broadcast {
            return Err(Error::AccessDenied);
        }
        let mut local = socket.local;
        if let Some(source) = source {
            let source = to_bind(net, socket.domain, options.v6_only, options.transparent, source)?;
            local.set_ip(source.ip());
            if source.port() != 0 && options.transparent {
                local.set_port(source.port());
            }
        }
        local.set_ip(socket.source_by(net, &route, local.ip()));
        let len = UdpHeader::LEN + data.len();
        let header_len = if v6 { Ipv6Header::LEN } else { Ipv4Header::LEN };
        let ports = (local.port(), peer.port());
        let meta = IpMeta {
            tos: options.class(v6),
            flow_label: net.flow_label(local.ip(), peer.ip(), protocol.0, ports),
            dont_fragment: socket.dont_fragment(&route, header_len + len)?,
            ignore_path_mtu: options.mtu_discover == MtuDiscover::Probe,
            interface: device,
            foreign: options.transparent,
            ..IpMeta::new(local.ip(), peer.ip(), protocol.0, socket.hops_to(net, peer.ip(), device))
        };
        let receive_errors = options.receives_errors(v6);
        let mut packet = Packet::copy_from(data);
        let pseudo = match (local.ip(), peer.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Sum::pseudo_v4(from, to, protocol, len as u32),
            (IpAddr::V6(from), IpAddr::V6(to)) => Sum::pseudo_v6(from, to, protocol, len as u32),
            _ => return Err(Error::NetworkUnreachable),
        };
        let mut header = UdpHeader::new(local.port(), peer.port(), len as u16);
        match coverage {
            // No nic knows UDP-Lite.
            Some(coverage) => {
                let (field, covered) = coverage.of(len);
                header.length.set(field);
                let mut sum = pseudo;
                sum.add_bytes(header.as_bytes());
                sum.add_bytes(data.get(..covered - UdpHeader::LEN).unwrap_or(data));
                header.checksum.set(sum.finish_udp());
                packet.prepend(UdpHeader::LEN).copy_from_slice(header.as_bytes());
            }
            None => {
                header.checksum.set(pseudo.fold());
                packet.prepend(UdpHeader::LEN).copy_from_slice(header.as_bytes());
                packet.offload_mut().checksum = Checksum::Partial { start: 0, offset: UDP_CHECKSUM_OFFSET };
            }
        }
        net.counters.count(Counter::UdpOutDatagrams.of_family(v6));
        match self.get(id)?.send(net, now, &route, &meta, packet) {
            Ok(()) => Ok(data.len()),
            // Dropped at a full queue, which was counted: as on Linux the program does not hear of it, unless it wants to.
            Err(Error::NoBuffers) => {
                net.counters.count(Counter::UdpSndbufErrors.of_family(v6));
                if receive_errors { Err(Error::NoBuffers) } else { Ok(data.len()) }
            }
            Err(error) => Err(error),
        }
    }

    /// Answers a datagram that a transparent socket took with an ICMP error.
    pub fn complain(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        datagram: &DatagramInfo,
        complaint: Complaint,
    ) -> Result<()> {
        let socket = self.get(id)?;
        if !socket.options.transparent {
            return Err(Error::NotPermitted);
        }
        let len = UdpHeader::LEN + datagram.len.min(max_payload(datagram.source.is_ipv6()));
        let header = UdpHeader::new(datagram.source.port(), datagram.destination.port(), len as u16);
        complain(net, now, datagram, Protocol::UDP, header.as_bytes(), len, complaint)
    }

    // Socket calls.

    pub fn socket(&mut self, net: &mut Net, domain: Domain, lite: bool) -> Result<SocketId> {
        self.next_generation = self.next_generation.wrapping_add(1);
        let index = self.sockets.vacant_key() as u32;
        let id = SocketId { family: SocketFamily::Udp, index, generation: self.next_generation };
        self.sockets.insert(DatagramSocket::new(id, domain, &net.settings));
        self.held.insert(Held { lite: lite.then(Coverage::default), ..Held::default() });
        Ok(id)
    }

    /// A transparent socket that binds to port 0 has no port, and takes what comes for any.
    pub fn bind(&mut self, net: &mut Net, id: SocketId, address: SocketAddr) -> Result<()> {
        let (socket, held) = self.parts(id)?;
        if held.place.is_some() {
            return Err(Error::InvalidArgument);
        }
        let options = socket.options;
        let device = scope(net, &address, options.bind_to_device)?;
        let address = to_bind(net, socket.domain, options.v6_only, options.transparent, address)?;
        let options = SocketOptions { bind_to_device: device, ..options };
        socket.options = options;
        if options.transparent && address.port() == 0 {
            socket.local = address;
            held.address = Some(address.ip());
            self.replace(id, Some(Place::AnyPort));
            return Ok(());
        }
        let binding = binding(address.ip(), &options);
        self.take_port(net, id, address, binding)?;
        let (socket, held) = self.parts(id)?;
        socket.options.v6_only |= is_one_v6(address.ip());
        held.by_bind = address.port() != 0;
        held.address = Some(address.ip());
        Ok(())
    }

    fn take_port(&mut self, net: &mut Net, id: SocketId, address: SocketAddr, binding: Binding) -> Result<()> {
        let lite = self.is_lite(id);
        let ports = &mut self.ends_mut(lite).ports;
        let port = match address.port() {
            0 => ports.bind_any(&mut net.rng, net.settings.ip_local_port_range, binding)?,
            port => {
                ports.bind(port, binding)?;
                port
            }
        };
        let (socket, held) = self.parts(id)?;
        held.port = Some((port, binding));
        socket.local = SocketAddr::new(address.ip(), port);
        let place = Place::Bound(socket.local);
        self.replace(id, Some(place));
        Ok(())
    }

    /// Gives a socket without a port one.
    fn bind_any(&mut self, net: &mut Net, id: SocketId) -> Result<()> {
        let (socket, held) = self.parts(id)?;
        if held.port.is_some() {
            return Ok(());
        }
        let address = SocketAddr::new(socket.local.ip(), 0);
        let binding = binding(address.ip(), &socket.options);
        let any_port = held.place == Some(Place::AnyPort);
        self.take_port(net, id, address, binding)?;
        if any_port {
            self.replace(id, Some(Place::AnyPort));
        }
        Ok(())
    }

    /// Moves a socket to another place in the table.
    fn replace(&mut self, id: SocketId, place: Option<Place>) {
        let Some(held) = self.held.get_mut(id.index as usize) else { return };
        let old = core::mem::replace(&mut held.place, place);
        let lite = held.lite.is_some();
        let table = &mut self.ends_mut(lite).table;
        if let Some(old) = old {
            table.remove(old, id.index);
        }
        if let Some(new) = place {
            table.insert(new, id.index);
        }
    }

    pub fn connect(&mut self, net: &mut Net, _now: Instant, id: SocketId, peer: SocketAddr) -> Result<()> {
        let (socket, _) = self.parts(id)?;
        let peer = to_destination(socket.domain, socket.options.v6_only, peer)?;
        scope(net, &peer, socket.options.bind_to_device)?;
        let device = socket.device_to(net, &peer)?;
        let route = net.route(peer.ip(), device)?;
        if route.kind == RouteKind::Broadcast && !socket.options.broadcast {
            return Err(Error::AccessDenied);
        }
        self.bind_any(net, id)?;
        let (socket, held) = self.parts(id)?;
        let bound = held.address.filter(|ip| !ip.is_unspecified());
        let source = bound.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        socket.local.set_ip(socket.source_by(net, &route, source));
        if peer.is_ipv6() {
            socket.options.bind_to_device = device;
        }
        socket.peer = Some(peer);
        let place = Place::Connected { local: socket.local, peer };
        self.replace(id, Some(place));
        Ok(())
    }

    pub fn disconnect(&mut self, _net: &mut Net, _now: Instant, id: SocketId) -> Result<()> {
        let (socket, held) = self.parts(id)?;
        socket.peer = None;
        socket.local.set_ip(held.address.unwrap_or(unspecified(socket.domain)));
        if held.by_bind {
            let place = Place::Bound(socket.local);
            self.replace(id, Some(place));
            return Ok(());
        }
        socket.local.set_port(0);
        let port = held.port.take();
        self.replace(id, None);
        if let Some((port, binding)) = port {
            let lite = self.is_lite(id);
            self.ends_mut(lite).ports.release(port, &binding);
        }
        Ok(())
    }

    fn is_lite(&self, id: SocketId) -> bool {
        self.held.get(id.index as usize).is_some_and(|held| held.lite.is_some())
    }

    pub fn recv_from(
        &mut self,
        _net: &mut Net,
        id: SocketId,
        buffer: &mut [u8],
        flags: ReceiveFlags,
    ) -> Result<DatagramInfo> {
        self.parts(id)?.0.recv_from(buffer, flags)
    }

    /// What the socket has in common with other kinds.
    pub fn datagram(&mut self, id: SocketId) -> Result<&mut DatagramSocket> {
        Ok(self.parts(id)?.0)
    }

    pub fn take_event(&mut self, id: SocketId) -> Option<Ready> {
        Some(self.parts(id).ok()?.0.take_event())
    }

    pub fn recv_available(&self, id: SocketId) -> usize {
        self.get(id).map_or(0, DatagramSocket::recv_available)
    }

    pub fn shutdown(&mut self, net: &mut Net, _now: Instant, id: SocketId, how: Shutdown) -> Result<()> {
        self.parts(id)?.0.shutdown(net, how)
    }

    pub fn close(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        self.parts(id)?;
        self.replace(id, None);
        self.sockets.remove(id.index as usize).close(net, now);
        let held = self.held.remove(id.index as usize);
        if let Some((port, binding)) = held.port {
            self.ends_mut(held.lite.is_some()).ports.release(port, &binding);
        }
        Ok(())
    }

    pub fn ready(&self, id: SocketId) -> Ready {
        self.get(id).map_or(Ready::empty(), DatagramSocket::ready)
    }

    pub fn take_error(&mut self, id: SocketId) -> Option<Error> {
        self.parts(id).ok()?.0.take_error()
    }

    pub fn local_addr(&self, id: SocketId) -> Result<SocketAddr> {
        self.get(id).map(DatagramSocket::local_addr)
    }

    pub fn peer_addr(&self, id: SocketId) -> Result<SocketAddr> {
        self.get(id)?.peer_addr()
    }

    pub fn set_option(&mut self, net: &mut Net, now: Instant, id: SocketId, option: SocketOption) -> Result<()> {
        let (socket, held) = self.parts(id)?;
        match (option, &mut held.lite) {
            (SocketOption::SendCoverage(bytes), Some(coverage)) => coverage.send = Some(lite::clamp(bytes)),
            (SocketOption::ReceiveCoverage(bytes), Some(coverage)) => coverage.receive = Some(lite::clamp(bytes)),
            _ => socket.set_option(net, now, option)?,
        }
        // How a port may be shared goes by the options as they stand.
        if let Some((port, old)) = &mut held.port {
            let new = binding(old.address, &socket.options);
            let (port, old) = (*port, core::mem::replace(old, new));
            let lite = held.lite.is_some();
            let ports = &mut self.ends_mut(lite).ports;
            ports.release(port, &old);
            ports.acquire(port, new);
        }
        Ok(())
    }

    pub fn options(&self, id: SocketId) -> Result<SocketOptions> {
        self.get(id).map(|socket| socket.options)
    }

    pub fn multicast(&self, id: SocketId) -> Result<&Multicast> {
        self.get(id).map(|socket| &socket.multicast)
    }

    pub fn multicast_mut(&mut self, id: SocketId) -> Result<&mut Multicast> {
        self.parts(id).map(|(socket, _)| &mut socket.multicast)
    }
}

fn binding(address: IpAddr, options: &SocketOptions) -> Binding {
    Binding {
        address,
        v6_only: options.v6_only,
        device: options.bind_to_device,
        reuse_address: options.reuse_address,
        reuse_port: options.reuse_port,
        listening: false,
        by_connect: false,
    }
}

/// Sends an ICMP error about a datagram, of whose transport part `len` bytes long `head` is known.
pub(crate) fn complain(
    net: &mut Net,
    now: Instant,
    datagram: &DatagramInfo,
    protocol: Protocol,
    head: &[u8],
    len: usize,
    complaint: Complaint,
) -> Result<()> {
    let canonical = |address: SocketAddr| address.ip().to_canonical();
    let (source, destination) = (canonical(datagram.source), canonical(datagram.destination));
    let meta = IpMeta { tos: datagram.tos, ..IpMeta::new(source, destination, protocol.0, datagram.ttl) };
    let quote = quote_again(&meta, head.get(..8).unwrap_or(head), len).ok_or(Error::InvalidArgument)?;
    net.complain(now, datagram.interface, quote, complaint);
    Ok(())
}
