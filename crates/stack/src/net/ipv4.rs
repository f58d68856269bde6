//! IPv4 in and out (RFC 791, RFC 1122 §3.2.1).

use core::net::{IpAddr, Ipv4Addr};

use wireway_packet::software::{complete_checksum, segment_count};
use wireway_packet::{Instant, Packet};
use wireway_wire::zerocopy::{IntoBytes, transmute};
use wireway_wire::{
    EtherType, Icmpv4Type, Ipv4Fields, Ipv4Header, Ipv4Option, Ipv4View, MacAddr, Malformed, Protocol, Sum,
};

use super::ethernet::LinkDestination;
use super::neighbour::NeighbourRef;
use super::{Inbound, IpMeta, Net, RouteKind};
use crate::counters::{Counter, DropReason};
use crate::interface::Medium;
use crate::{Error, InterfaceId, Result};

/// Where a datagram goes at layer 2.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub interface: InterfaceId,
    pub kind: RouteKind,
    pub next_hop: IpAddr,
    pub destination: Ipv4Addr,
    pub neighbour: NeighbourRef,
    pub confirm: bool,
}

impl Net {
    /// Takes in an IPv4 packet that begins `skip` bytes into `packet`; what a transport is to receive comes back, or a fragment of it.
    #[inline(always)]
    pub fn receive_ipv4(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        link: LinkDestination,
        skip: usize,
        mut packet: Packet,
    ) -> Option<Inbound> {
        self.counters.count(Counter::IpInReceives);
        self.counters[Counter::IpExtInOctets] += (packet.len() - skip) as u64;
        let (header, options) = match check_header(&mut packet, skip) {
            Ok(checked) => checked,
            Err(reason) => {
                self.counters.count(match reason {
                    DropReason::PacketTooSmall => Counter::IpExtInTruncatedPkts,
                    _ => Counter::IpInHdrErrors,
                });
                self.drop_packet(reason, packet);
                return None;
            }
        };
        if packet.len() > skip + header.total_len() {
            // A short Ethernet frame is padded.
            packet.truncate(skip + header.total_len());
        }
        let local = match self.classify(interface, &header) {
            Ok(local) => local,
            Err(reason) => {
                if reason == DropReason::IpInAddressErrors {
                    self.counters.count(Counter::IpInAddrErrors);
                }
                self.drop_packet(reason, packet);
                return None;
            }
        };
        if let Some(options) = options.as_deref()
            && let Err(fault) = check_options(options)
        {
            packet.trim_front(skip);
            return self.refuse_options(now, header, link, packet, fault);
        }
        self.counters.count(match header.ecn() {
            0 => Counter::IpExtInNoEctPkts,
            1 => Counter::IpExtInEct1Pkts,
            2 => Counter::IpExtInEct0Pkts,
            _ => Counter::IpExtInCePkts,
        });
        packet.trim_front(skip + header.header_len());
        let ip_broadcast = !local && self.is_broadcast(header.dst().into());
        if ip_broadcast {
            let multicast = header.dst().is_multicast();
            self.counters.count(if multicast { Counter::IpExtInMcastPkts } else { Counter::IpExtInBcastPkts });
        }
        if !header.is_fragment() {
            self.counters.count(Counter::IpInDelivers);
        }
        Some(Inbound {
            interface,
            source: header.src().into(),
            destination: header.dst().into(),
            protocol: header.protocol().0,
            ttl: header.ttl(),
            tos: header.tos(),
            broadcast: ip_broadcast || link == LinkDestination::Group,
            local: local || ip_broadcast,
            packet,
            header,
            options,
        })
    }

    /// Whether the packet is for one of the host's own addresses; false if for a group or (`any_destination`) for another host
    /// that this one stands in for. Otherwise, and for addresses that may not be on the wire, why it is dropped.
    ///
    /// The answer for a pair of addresses is kept in a small cache.
    fn classify(&mut self, interface: InterfaceId, header: &Ipv4Header) -> Result<bool, DropReason> {
        let (source, destination) = (header.src(), header.dst());
        let generation = self.destinations.generation;
        let slot = self.accepted.slot(source, destination);
        let key = Accepted { source, destination, interface, generation, local: false };
        if let Some(known) = slot.filter(|known| Accepted { local: false, ..*known } == key) {
            return Ok(known.local);
        }
        let local = self.classify_anew(interface, source, destination)?;
        *self.accepted.slot(source, destination) = Some(Accepted { local, ..key });
        Ok(local)
    }

    fn classify_anew(
        &self,
        interface: InterfaceId,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Result<bool, DropReason> {
        let at = self.interfaces.get(usize::from(interface.0)).ok_or(DropReason::DevReady)?;
        if at.medium == Medium::Loopback {
            // What is on `lo` we sent ourselves, also the copies of our broadcasts.
            return Ok(self.is_local(destination.into()));
        }
        // RFC 1122 §3.2.1.3: (a) to (g), where each may stand.
        if source.octets()[0] == 0 && !(source.is_unspecified() && destination.is_broadcast()) {
            return Err(DropReason::IpInvalidSource);
        }
        if source.is_loopback() || destination.is_loopback() {
            return Err(DropReason::IpLocalNet);
        }
        if self.is_broadcast(source.into()) {
            return Err(DropReason::IpInvalidSource);
        }
        if destination.octets()[0] == 0 {
            return Err(DropReason::IpInvalidDestination);
        }
        if self.is_local(source.into()) {
            return Err(DropReason::IpLocalSource);
        }
        if self.is_local(destination.into()) {
            return Ok(true);
        }
        if destination.is_multicast() {
            // Every host is in the group of all hosts (RFC 1112 §4), and can join no other here.
            let joined = destination == Ipv4Addr::new(224, 0, 0, 1);
            return if joined { Ok(false) } else { Err(DropReason::IpMulticast) };
        }
        if self.is_broadcast(destination.into()) || at.any_destination {
            return Ok(false);
        }
        // Not forwarded (RFC 1122 §3.3.4: a host is no router).
        Err(DropReason::IpInAddressErrors)
    }

    /// Drops a packet with options that are not taken: malformed ones with an ICMP parameter problem (RFC 1122 §3.2.2.5).
    fn refuse_options(
        &mut self,
        now: Instant,
        header: Ipv4Header,
        link: LinkDestination,
        packet: Packet,
        fault: OptionFault,
    ) -> Option<Inbound> {
        self.counters.count(Counter::IpInHdrErrors);
        match fault {
            OptionFault::SourceRoute => self.drop_packet(DropReason::IpSourceRoute, packet),
            OptionFault::Malformed(pointer) => {
                self.counters.drop(DropReason::IpHeader);
                let group = link == LinkDestination::Group || self.is_broadcast(header.dst().into());
                if !group && header.fragment_offset() == 0 {
                    self.send_icmp_error_with(now, packet, Icmpv4Type::PARAMETER_PROBLEM, 0, [pointer, 0, 0, 0]);
                }
            }
        }
        None
    }

    /// Sends one packet, which begins with its transport header (checksum complete or partial), by the route to its
    /// destination. A packet too long for the path is fragmented, unless DF is asked for. ENETUNREACH, EMSGSIZE (DF and too large),
    /// ENOBUFS (dropped at a full queue).
    pub fn send_ip(&mut self, now: Instant, meta: &IpMeta, packet: Packet) -> Result<()> {
        match self.send_alike(now, meta, packet) {
            Ok(result) => result,
            Err(packet) => self.send_ip_anew(now, meta, packet),
        }
    }

    fn send_ip_anew(&mut self, now: Instant, meta: &IpMeta, mut packet: Packet) -> Result<()> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (meta.source, meta.destination) else {
            return Err(self.no_route(packet, Error::NetworkUnreachable));
        };
        let (route, next_hop, mtu_locked, neighbour) = match self.destination(meta.destination, meta.interface) {
            Ok(d) => (d.route, d.next_hop, d.mtu_locked, d.neighbour),
            Err(error) => return Err(self.no_route(packet, error)),
        };
        if source.is_loopback() && route.kind != RouteKind::Local {
            // RFC 1122 §3.2.1.3 (g): never outside a host.
            self.drop_packet(DropReason::IpLocalNet, packet);
            return Err(Error::InvalidArgument);
        }
        let mtu = usize::from(if meta.ignore_path_mtu { route.interface_mtu } else { route.mtu });
        let total = Ipv4Header::LEN + packet.len();
        let longest = match packet.offload().segmentation {
            Some(s) => Ipv4Header::LEN + usize::from(s.header_len) + usize::from(s.size),
            None => total,
        };
        let dont_fragment = meta.dont_fragment && (meta.ignore_path_mtu || !mtu_locked);
        if total > usize::from(u16::MAX) || (longest > mtu && dont_fragment) {
            self.counters.count(Counter::IpFragFails);
            self.drop_packet(DropReason::IpFragmentationNeeded, packet);
            return Err(Error::MessageTooLong);
        }
        // RFC 6864 §4.1: what cannot be fragmented needs no identification.
        let ident = match dont_fragment {
            true => 0,
            false => {
                let count = segment_count(&packet) as u16;
                self.idents.take(now, &mut self.rng, source, destination, meta.protocol, count)
            }
        };
        let fields = Ipv4Fields {
            tos: meta.tos,
            payload_len: packet.len() as u16,
            ident,
            dont_fragment,
            more_fragments: false,
            fragment_offset: 0,
            ttl: meta.ttl,
            protocol: Protocol(meta.protocol),
            src: source,
            dst: destination,
        };
        self.counters.count(Counter::IpOutRequests);
        self.counters[Counter::IpExtOutOctets] += total as u64;
        let mut output = Output {
            interface: route.interface,
            kind: route.kind,
            next_hop,
            destination,
            neighbour,
            confirm: meta.confirm,
        };
        if matches!(route.kind, RouteKind::Broadcast | RouteKind::Multicast) {
            self.loop_back_group(&fields, route.kind, &packet);
        }
        let result = if longest > mtu {
            complete_checksum(&mut packet);
            packet.offload_mut().segmentation = None;
            self.fragment(now, &mut output, &fields, mtu, packet)
        } else {
            let header = Ipv4Header::new(&fields, &[]);
            packet.prepend(Ipv4Header::LEN).copy_from_slice(header.as_bytes());
            self.output(now, &mut output, packet)
        };
        if output.neighbour != neighbour
            && let Ok(d) = self.destination(meta.destination, meta.interface)
        {
            d.neighbour = output.neighbour;
        }
        if dont_fragment && result.is_ok() {
            self.make_template(now, meta);
        }
        result
    }

    fn no_route(&mut self, packet: Packet, error: Error) -> Error {
        self.counters.count(Counter::IpOutNoRoutes);
        self.drop_packet(DropReason::IpOutNoRoutes, packet);
        error
    }

    /// A broadcast goes to the host's own sockets too (as Linux does; multicast only for the group every host is in).
    fn loop_back_group(&mut self, fields: &Ipv4Fields, kind: RouteKind, packet: &Packet) {
        if kind == RouteKind::Broadcast {
            self.counters.count(Counter::IpExtOutBcastPkts);
        } else {
            self.counters.count(Counter::IpExtOutMcastPkts);
            return;
        }
        let mut copy = packet.clone();
        let header = Ipv4Header::new(fields, &[]);
        copy.prepend(Ipv4Header::LEN).copy_from_slice(header.as_bytes());
        let _ = self.loop_back(copy);
    }

    /// Puts a packet on `lo`. ENOBUFS if the backlog is full.
    fn loop_back(&mut self, packet: Packet) -> Result<()> {
        let full = self.backlog.len() >= self.settings.netdev_max_backlog;
        let Some(lo) = self.interfaces.first_mut() else { return Err(Error::NoDevice) };
        if full {
            lo.statistics.tx_dropped += 1;
            self.drop_packet(DropReason::LoopbackQueueFull, packet);
            return Err(Error::NoBuffers);
        }
        lo.statistics.tx_packets += 1;
        lo.statistics.tx_bytes += packet.len() as u64;
        self.backlog.push_back(packet);
        Ok(())
    }

    /// The next packet on `lo`, which begins with its IP header.
    pub fn take_looped(&mut self) -> Option<Packet> {
        let packet = self.backlog.pop_front()?;
        if let Some(lo) = self.interfaces.first_mut() {
            lo.statistics.rx_packets += 1;
            lo.statistics.rx_bytes += packet.len() as u64;
        }
        Some(packet)
    }

    /// Hands a packet with its IP header to layer 2.
    pub(super) fn output(&mut self, now: Instant, out: &mut Output, packet: Packet) -> Result<()> {
        let (mac, packet) = match out.kind {
            RouteKind::Local => return self.loop_back(packet),
            RouteKind::Broadcast => (MacAddr::BROADCAST, packet),
            RouteKind::Multicast => (MacAddr::multicast_v4(out.destination), packet),
            RouteKind::Unicast => {
                match self.resolve(now, out.interface, out.next_hop, &mut out.neighbour, out.confirm, packet)? {
                    Some(resolved) => resolved,
                    None => return Ok(()),
                }
            }
        };
        self.transmit_frame(out.interface, mac, EtherType::IPV4, packet)
    }
}

/// A header's options, if it has some.
type Options = Option<Box<[u8]>>;

/// Checks the header as RFC 1122 §3.2.1 asks, and makes it and the options lie in the packet's head.
#[inline]
fn check_header(packet: &mut Packet, skip: usize) -> Result<(Ipv4Header, Options), DropReason> {
    let len = packet.len() - skip;
    let head = packet.pullup(skip + Ipv4Header::LEN).and_then(|head| head.last_chunk::<{ Ipv4Header::LEN }>());
    let header: Ipv4Header = transmute!(*head.ok_or(DropReason::IpHeader)?);
    if !header.is_plain() {
        return check_header_with_options(packet, skip, len);
    }
    if !Sum::of(header.as_bytes()).is_valid() {
        return Err(DropReason::IpChecksum);
    }
    if header.total_len() > len {
        return Err(DropReason::PacketTooSmall);
    }
    if header.total_len() < Ipv4Header::LEN {
        return Err(DropReason::IpHeader);
    }
    Ok((header, None))
}

/// As [`check_header`], for any header that there may be.
#[cold]
fn check_header_with_options(
    packet: &mut Packet,
    skip: usize,
    len: usize,
) -> Result<(Ipv4Header, Options), DropReason> {
    let head = packet.head();
    let header_len = usize::from(head.get(skip).copied().unwrap_or(0) & 0x0f) * 4;
    let head = &*packet.pullup(skip + header_len.max(Ipv4Header::LEN)).ok_or(DropReason::IpHeader)?;
    let head = head.get(skip..).unwrap_or_default();
    let view = Ipv4View::parse_quoted(head).map_err(|_: Malformed| DropReason::IpHeader)?;
    view.verify_checksum().map_err(|_| DropReason::IpChecksum)?;
    let total_len = view.header.total_len();
    if total_len > len {
        return Err(DropReason::PacketTooSmall);
    }
    if total_len < header_len {
        return Err(DropReason::IpHeader);
    }
    let options = (!view.options.is_empty()).then(|| Box::from(view.options));
    Ok((*view.header, options))
}

/// A pair of addresses that was accepted on an interface.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    interface: InterfaceId,
    generation: u32,
    local: bool,
}

/// Pairs of addresses accepted lately: direct-mapped, made void by a new generation of routes. A collision costs a look-up, no more.
pub(super) struct AcceptedCache([Option<Accepted>; 64]);

impl AcceptedCache {
    pub fn new() -> AcceptedCache {
        AcceptedCache([None; 64])
    }

    fn slot(&mut self, source: Ipv4Addr, destination: Ipv4Addr) -> &mut Option<Accepted> {
        let mixed = (source.to_bits() ^ destination.to_bits().rotate_left(7)).wrapping_mul(0x9e37_79b9);
        &mut self.0[(mixed >> 26) as usize]
    }
}

/// What is wrong with a packet's options.
enum OptionFault {
    /// Source routes are not taken (Linux's accept_source_route is off).
    SourceRoute,
    /// The byte of the packet that is wrong.
    Malformed(u8),
}

/// Looks at options as Linux does: their shape, and that no source route is among them. All others are tolerated.
fn check_options(options: &[u8]) -> Result<(), OptionFault> {
    let mut at = Ipv4Header::LEN;
    for option in wireway_wire::Ipv4OptionIter::new(options) {
        let malformed = |byte: usize| Err(OptionFault::Malformed((at + byte) as u8));
        let Ok(option) = option else { return malformed(0) };
        let len = option.data.len() + 2;
        // Where a pointer points, counted from the option's first byte; it must leave room for an entry.
        let pointer = option.data.first().map(|&pointer| usize::from(pointer));
        let misplaced = |first: usize| pointer.is_some_and(|p| p < first || p <= len && p + 3 > len);
        match option.kind {
            Ipv4Option::LOOSE_SOURCE_ROUTE | Ipv4Option::STRICT_SOURCE_ROUTE => return Err(OptionFault::SourceRoute),
            Ipv4Option::RECORD_ROUTE if len < 3 => return malformed(1),
            Ipv4Option::TIMESTAMP if len < 4 => return malformed(1),
            Ipv4Option::RECORD_ROUTE if misplaced(4) => return malformed(2),
            Ipv4Option::TIMESTAMP if misplaced(5) => return malformed(2),
            _ => {}
        }
        at += if option.kind == Ipv4Option::NOP { 1 } else { len };
    }
    Ok(())
}
