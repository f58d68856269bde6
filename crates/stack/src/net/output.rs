//! IP packets out, of both families (RFC 791, RFC 8200 §3), and `lo`.

use core::net::IpAddr;

use wireway_packet::software::{complete_checksum, segment_count};
use wireway_packet::{Instant, Packet};
use wireway_wire::{Ipv4Header, MacAddr, Sum};

use super::header::IpFields;
use super::neighbour::NeighbourRef;
use super::{IpMeta, LinkDestination, Net, RouteKind};
use crate::counters::{Counter, DropReason};
use crate::{Error, InterfaceId, Result};

/// Where a datagram goes at layer 2.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub interface: InterfaceId,
    pub kind: RouteKind,
    pub next_hop: IpAddr,
    pub destination: IpAddr,
    pub neighbour: NeighbourRef,
    pub confirm: bool,
}

impl Net {
    /// Sends one packet, which begins with its transport header (checksum complete or partial), by the route to its
    /// destination. A packet too long for the path is fragmented, unless DF is asked for. ENETUNREACH, EMSGSIZE (DF and too large),
    /// ENOBUFS (dropped at a full queue).
    pub fn send_ip(&mut self, now: Instant, meta: &IpMeta, packet: Packet) -> Result<()> {
        match self.send_alike(now, meta, packet) {
            Ok(result) => result,
            Err(packet) => self.send_ip_anew(now, meta, true, packet),
        }
    }

    /// As [`send_ip`](Self::send_ip), to a group. `loops`: the host's own listeners get it too (IP_MULTICAST_LOOP).
    pub fn send_to_group(&mut self, now: Instant, meta: &IpMeta, loops: bool, packet: Packet) -> Result<()> {
        self.send_ip_anew(now, meta, loops, packet)
    }

    fn send_ip_anew(&mut self, now: Instant, meta: &IpMeta, loops: bool, mut packet: Packet) -> Result<()> {
        let v6 = meta.destination.is_ipv6();
        let Some(mut fields) = IpFields::new(meta) else {
            return Err(self.no_route(v6, packet, Error::NetworkUnreachable));
        };
        let (route, next_hop, mtu_locked, neighbour) = match self.destination(meta.destination, meta.interface) {
            Ok(d) => (d.route, d.next_hop, d.mtu_locked, d.neighbour),
            Err(error) => return Err(self.no_route(v6, packet, error)),
        };
        if meta.source.is_loopback() && route.interface != InterfaceId::LOOPBACK {
            // RFC 1122 §3.2.1.3 (g), RFC 4291 §2.5.3: never outside a host.
            self.drop_packet(DropReason::IpLocalNet, packet);
            return Err(Error::InvalidArgument);
        }
        if !self.may_send_from(meta) {
            return Err(self.no_route(v6, packet, Error::NetworkUnreachable));
        }
        let mtu = usize::from(if meta.ignore_path_mtu { route.interface_mtu } else { route.mtu });
        let total = fields.len() + packet.len();
        let longest = match packet.offload().segmentation {
            Some(s) => fields.len() + usize::from(s.header_len) + usize::from(s.size),
            None => total,
        };
        let dont_fragment = meta.dont_fragment && (meta.ignore_path_mtu || !mtu_locked);
        if packet.len() > fields.max_payload() || (longest > mtu && dont_fragment) {
            self.counters.count(Counter::IpFragFails.of_family(v6));
            self.drop_packet(DropReason::IpFragmentationNeeded, packet);
            return Err(Error::MessageTooLong);
        }
        // Where a packet of IPv6 is whole it has no identification.
        if !dont_fragment && (longest > mtu || !v6) {
            let count = segment_count(&packet) as u16;
            let protocol = meta.protocol;
            let ident = self.idents.take(now, &mut self.rng, meta.source, meta.destination, protocol, count);
            fields.allow_fragments(ident);
        }
        self.counters.count(Counter::IpOutRequests.of_family(v6));
        self.counters[Counter::IpExtOutOctets.of_family(v6)] += total as u64;
        // What the host says to itself on a link stays on that link (RFC 4007 §6).
        let link = match (route.kind, meta.interface) {
            (RouteKind::Local, Some(at)) => self.scope_of(meta.destination, at),
            _ => None,
        };
        let mut output = Output {
            interface: link.unwrap_or(route.interface),
            kind: route.kind,
            next_hop,
            destination: meta.destination,
            neighbour,
            confirm: meta.confirm,
        };
        match route.kind {
            RouteKind::Broadcast => self.loop_back_broadcast(&fields, &packet),
            RouteKind::Multicast => {
                self.loop_back_group(meta, route.interface, loops, &fields, &packet);
                if meta.ttl == 0 {
                    // RFC 1112 §6.1: not beyond the host.
                    return Ok(());
                }
            }
            RouteKind::Local | RouteKind::Unicast => {}
        }
        let result = if longest > mtu {
            complete_checksum(&mut packet);
            packet.offload_mut().segmentation = None;
            self.fragment(now, &mut output, &fields, mtu, packet)
        } else {
            fields.prepend_to(&mut packet);
            self.output(now, &mut output, packet)
        };
        if output.neighbour != neighbour
            && let Ok(d) = self.destination(meta.destination, meta.interface)
        {
            d.neighbour = output.neighbour;
        }
        if dont_fragment && result.is_ok() {
            self.make_template(now, meta, &fields);
        }
        result
    }

    /// Sends a packet that begins with its own IPv4 header, by the route to `meta`'s destination; of `meta` only the source counts beside. What Linux
    /// fills in is filled in (raw(7)): the length and the checksum always, source and identification where they are zero. EINVAL if
    /// there is no header, EMSGSIZE if it is too long for the link.
    pub fn send_with_header(&mut self, now: Instant, meta: &IpMeta, mut packet: Packet) -> Result<()> {
        let (route, next_hop, neighbour) = match self.destination(meta.destination, meta.interface) {
            Ok(d) => (d.route, d.next_hop, d.neighbour),
            Err(error) => return Err(self.no_route(false, packet, error)),
        };
        let len = u16::try_from(packet.len()).ok().filter(|&len| len <= route.interface_mtu);
        let len = len.ok_or(Error::MessageTooLong)?;
        let header_len =
            packet.pullup(1).and_then(|head| head.first()).map_or(0, |first| usize::from(first & 0x0f) * 4);
        let ident = self.idents.take(now, &mut self.rng, meta.source, meta.destination, meta.protocol, 1) as u16;
        let head = packet.pullup(header_len).filter(|_| header_len >= Ipv4Header::LEN).ok_or(Error::InvalidArgument)?;
        put(head, 2, &len.to_be_bytes());
        put(head, 10, &[0; 2]);
        if head.get(4..6) == Some(&[0; 2]) {
            put(head, 4, &ident.to_be_bytes());
        }
        if let (IpAddr::V4(source), Some([0, 0, 0, 0])) = (meta.source, head.get(12..16)) {
            put(head, 12, &source.octets());
        }
        let checksum = Sum::of(head).finish();
        put(head, 10, &checksum.to_be_bytes());
        self.counters.count(Counter::IpOutRequests);
        self.counters[Counter::IpExtOutOctets] += u64::from(len);
        let destination = meta.destination;
        let mut output =
            Output { interface: route.interface, kind: route.kind, next_hop, destination, neighbour, confirm: false };
        self.output(now, &mut output, packet)
    }

    /// RFC 1122 §3.2.1.3: the source is an own address, unless the host stands in for others. It may have been removed since the socket took it. IPv6's
    /// is used on, as by Linux.
    fn may_send_from(&self, meta: &IpMeta) -> bool {
        let IpAddr::V4(source) = meta.source else { return true };
        let stands_in = || self.settings.ip_nonlocal_bind || self.interfaces.iter().any(|at| at.any_destination);
        source.is_unspecified() || meta.foreign || self.is_local(meta.source) || stands_in()
    }

    fn no_route(&mut self, v6: bool, packet: Packet, error: Error) -> Error {
        self.counters.count(Counter::IpOutNoRoutes.of_family(v6));
        self.drop_packet(DropReason::IpOutNoRoutes, packet);
        error
    }

    /// A broadcast goes to the host's own sockets too (as Linux does).
    fn loop_back_broadcast(&mut self, fields: &IpFields, packet: &Packet) {
        self.counters.count(Counter::IpExtOutBcastPkts);
        let mut copy = packet.clone();
        fields.prepend_to(&mut copy);
        let _ = self.loop_back(InterfaceId::LOOPBACK, LinkDestination::Host, copy);
    }

    /// What goes to a group goes to the host's own listeners on that interface too (RFC 1112 §6.1, RFC 3493 §5.2). From `lo` it comes back anyway.
    fn loop_back_group(
        &mut self,
        meta: &IpMeta,
        interface: InterfaceId,
        loops: bool,
        fields: &IpFields,
        packet: &Packet,
    ) {
        self.counters.count(Counter::IpExtOutMcastPkts.of_family(fields.is_v6()));
        let elsewhere = interface != InterfaceId::LOOPBACK;
        if loops && elsewhere && self.hears(interface, meta.destination, meta.source) {
            let mut copy = packet.clone();
            fields.prepend_to(&mut copy);
            let _ = self.loop_back(interface, LinkDestination::Looped, copy);
        }
    }

    /// Lets a packet be received by `lo`, or one to a group by the interface that it leaves by. ENOBUFS if the backlog is full.
    fn loop_back(&mut self, interface: InterfaceId, link: LinkDestination, packet: Packet) -> Result<()> {
        let full = self.backlog.len() >= self.settings.netdev_max_backlog;
        let Some(lo) = self.interfaces.first_mut() else { return Err(Error::NoDevice) };
        if interface == InterfaceId::LOOPBACK && !lo.up {
            // As on Linux nobody is told.
            lo.statistics.tx_dropped += 1;
            self.drop_packet(DropReason::DevReady, packet);
            return Ok(());
        }
        if full {
            lo.statistics.tx_dropped += 1;
            self.drop_packet(DropReason::LoopbackQueueFull, packet);
            return Err(Error::NoBuffers);
        }
        if interface == InterfaceId::LOOPBACK {
            lo.statistics.tx_packets += 1;
            lo.statistics.tx_bytes += packet.len() as u64;
        }
        self.backlog.push_back((interface, link, packet));
        Ok(())
    }

    /// The next packet that was looped back, which begins with its IP header, the interface to receive it by, and whom it was for.
    pub fn take_looped(&mut self) -> Option<(InterfaceId, LinkDestination, Packet)> {
        let (interface, link, packet) = self.backlog.pop_front()?;
        if interface == InterfaceId::LOOPBACK
            && let Some(lo) = self.interfaces.first_mut()
        {
            lo.statistics.rx_packets += 1;
            lo.statistics.rx_bytes += packet.len() as u64;
        }
        Some((interface, link, packet))
    }

    /// Hands a packet with its IP header to layer 2.
    pub(super) fn output(&mut self, now: Instant, out: &mut Output, packet: Packet) -> Result<()> {
        let (mac, packet) = match out.kind {
            RouteKind::Local if out.interface != InterfaceId::LOOPBACK => {
                return self.loop_back(InterfaceId::LOOPBACK, LinkDestination::Own(out.interface), packet);
            }
            RouteKind::Local => return self.loop_back(InterfaceId::LOOPBACK, LinkDestination::Host, packet),
            _ if out.interface == InterfaceId::LOOPBACK => {
                return self.loop_back(out.interface, LinkDestination::Host, packet);
            }
            RouteKind::Broadcast => (MacAddr::BROADCAST, packet),
            RouteKind::Multicast => match out.destination {
                IpAddr::V4(group) => (MacAddr::multicast_v4(group), packet),
                IpAddr::V6(group) => (MacAddr::multicast_v6(group), packet),
            },
            RouteKind::Unicast => {
                match self.resolve(now, out.interface, out.next_hop, &mut out.neighbour, out.confirm, packet)? {
                    Some(resolved) => resolved,
                    None => return Ok(()),
                }
            }
        };
        self.transmit_ip(out.interface, mac, out.destination.is_ipv6(), packet)
    }
}

fn put(head: &mut [u8], at: usize, value: &[u8]) {
    if let Some(field) = head.get_mut(at..at + value.len()) {
        field.copy_from_slice(value);
    }
}
