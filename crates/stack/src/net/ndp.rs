//! Neighbour discovery (RFC 4861 §7): what to answer and what to believe. The states of a neighbour: `neighbour.rs`; routers: `router.rs`.

use core::net::{IpAddr, Ipv6Addr};

use wireway_packet::{Instant, Packet};
use wireway_wire::ipv6::{ALL_NODES, ALL_ROUTERS, solicited_node};
use wireway_wire::zerocopy::{Immutable, IntoBytes};
use wireway_wire::{
    AdvertisementFlags, Icmpv6Type, Ipv6Fields, MacAddr, Malformed, NdpWriter, NeighbourAdvertisement,
    NeighbourSolicitation, Protocol, Redirect, RouterAdvertisement, RouterSolicitation,
};

use super::header::IpFields;
use super::neighbour::NeighbourRef;
use super::{Inbound, Net};
use crate::InterfaceId;
use crate::counters::{Counter, DropReason};

/// Every message has this hop limit: no router has passed it on (RFC 4861 §3.1).
const HOP_LIMIT: u8 = 255;
/// Our longest message: a solicitation with its options.
const LONGEST: usize = 64;

/// Where a message of ours goes.
struct Envelope {
    interface: InterfaceId,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    /// At layer 2, if it is known; else as neighbours are found.
    mac: Option<MacAddr>,
}

/// Whether a type is one of neighbour discovery's.
pub(super) fn is_ndp(kind: Icmpv6Type) -> bool {
    matches!(
        kind,
        Icmpv6Type::ROUTER_SOLICITATION
            | Icmpv6Type::ROUTER_ADVERTISEMENT
            | Icmpv6Type::NEIGHBOUR_SOLICITATION
            | Icmpv6Type::NEIGHBOUR_ADVERTISEMENT
            | Icmpv6Type::REDIRECT
    )
}

impl Net {
    /// Takes in a message whose checksum is right. If it was of no use, why not.
    pub(super) fn receive_ndp(&mut self, now: Instant, kind: Icmpv6Type, inbound: &Inbound) -> Result<(), DropReason> {
        if inbound.ttl != HOP_LIMIT {
            return Err(DropReason::NdHopLimit);
        }
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (inbound.source(), inbound.destination()) else {
            return Err(DropReason::NdMalformed);
        };
        let at = inbound.interface;
        // Where there are no frames there are no neighbours.
        if self.interface(at).is_none_or(|at| at.mac().is_none()) {
            return Err(DropReason::NdNotForUs);
        }
        let message = inbound.packet.to_vec();
        let taken = match kind {
            Icmpv6Type::NEIGHBOUR_SOLICITATION => self.solicitation_arrives(now, at, source, destination, &message),
            Icmpv6Type::NEIGHBOUR_ADVERTISEMENT => self.advertisement_arrives(now, at, destination, &message),
            Icmpv6Type::ROUTER_ADVERTISEMENT => {
                RouterAdvertisement::parse(source, &message).map(|(advertisement, options)| {
                    self.router_advertised(now, at, source, &advertisement.fields(), options)
                })
            }
            Icmpv6Type::REDIRECT => Redirect::parse(source, &message)
                .map(|(redirect, options)| self.redirected(now, at, source, redirect, options.target_link_layer())),
            // A host does not answer router solicitations (RFC 4861 §6.2.6 is for routers).
            _ => Ok(false),
        };
        match taken {
            Ok(true) => Ok(()),
            Ok(false) => Err(DropReason::NdNotForUs),
            Err(_) => {
                self.counters.count(Counter::Icmp6InErrors);
                Err(DropReason::NdMalformed)
            }
        }
    }

    /// RFC 4861 §7.2.3, RFC 4862 §5.4.3.
    fn solicitation_arrives(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        message: &[u8],
    ) -> Result<bool, Malformed> {
        let (solicitation, options) = NeighbourSolicitation::parse(source, destination, message)?;
        let target = solicitation.target();
        let probe = source.is_unspecified();
        let tentative = self.interface(interface).is_some_and(|at| at.claims.tentative().any(|c| c.address == target));
        if tentative {
            // Another station that asks for its neighbour is not answered before the address is ours.
            return Ok(probe && self.contest_claim(now, interface, target, options.nonce()));
        }
        let own = self.has_at(interface, target);
        let stands_in = self.interface(interface).is_some_and(|at| at.any_destination);
        // An interface that stands in for the world answers for it, but not to the one who wants to know whether an address is free.
        let of_a_host = !target.is_unspecified() && !target.is_loopback() && target.to_ipv4_mapped().is_none();
        let proxied = stands_in && !own && !probe && of_a_host && !target.is_unicast_link_local() && target != source;
        if !own && !proxied {
            return Ok(false);
        }
        let mac = options.source_link_layer().filter(|mac| mac.is_unicast());
        if let Some(mac) = mac.filter(|_| !probe) {
            self.learn_neighbour(now, interface, source.into(), mac, false, true);
        }
        // §7.2.4. Who stands in for others does not override them.
        let mut flags = AdvertisementFlags::empty();
        flags.set(AdvertisementFlags::SOLICITED, !probe);
        flags.set(AdvertisementFlags::OVERRIDE, own);
        flags.set(AdvertisementFlags::ROUTER, stands_in);
        let Some(own_mac) = self.interface(interface).and_then(|at| at.mac()) else { return Ok(false) };
        let (from, to) = (if own { target } else { self.nd_source(interface, source).unwrap_or(target) }, source);
        let envelope = Envelope { interface, source: from, destination: if probe { ALL_NODES } else { to }, mac };
        self.counters.count(Counter::Icmp6OutNeighborAdvertisements);
        let advertisement = NeighbourAdvertisement::new(flags, target);
        self.send_ndp(now, envelope, &advertisement, |writer| writer.target_link_layer(own_mac));
        Ok(true)
    }

    /// RFC 4861 §7.2.5, RFC 4862 §5.4.4.
    fn advertisement_arrives(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        destination: Ipv6Addr,
        message: &[u8],
    ) -> Result<bool, Malformed> {
        let (advertisement, options) = NeighbourAdvertisement::parse(destination, message)?;
        let target = advertisement.target();
        if self.contest_claim(now, interface, target, None) {
            return Ok(true);
        }
        if self.has_at(interface, target) {
            // Another station has our address: nothing to be learnt, and there is no way to defend it.
            self.counters.count(Counter::NdConflicts);
            return Ok(false);
        }
        let mac = options.target_link_layer().filter(|mac| mac.is_unicast());
        self.neighbour_advertised(now, interface, target.into(), mac, advertisement.flags());
        Ok(true)
    }

    /// Whether it is an address of this very interface: another's is not told here (RFC 4861 §7.2.3).
    fn has_at(&self, interface: InterfaceId, address: Ipv6Addr) -> bool {
        self.interface(interface).is_some_and(|at| at.addresses.iter().any(|cidr| cidr.address == address))
    }

    /// The address to ask from: the one that what waits would be sent from, or any (RFC 4861 §7.2.2).
    fn nd_source(&self, interface: InterfaceId, target: Ipv6Addr) -> Option<Ipv6Addr> {
        self.select_source(interface, target)
    }

    /// Asks for `target`: its holder, if `mac` is thought to be it, else those of its group.
    pub(super) fn send_neighbour_solicitation(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        target: Ipv6Addr,
        mac: Option<MacAddr>,
    ) {
        let Some(own_mac) = self.interface(interface).and_then(|at| at.mac()) else { return };
        let Some(source) = self.nd_source(interface, target) else { return };
        let destination = if mac.is_some() { target } else { solicited_node(target) };
        self.counters.count(Counter::Icmp6OutNeighborSolicits);
        let envelope = Envelope { interface, source, destination, mac };
        let solicitation = NeighbourSolicitation::new(target);
        self.send_ndp(now, envelope, &solicitation, |writer| writer.source_link_layer(own_mac));
    }

    /// Asks whether another station has `target` (RFC 4862 §5.4.2, RFC 7527 §4.1).
    pub(super) fn send_dad_probe(&mut self, now: Instant, interface: InterfaceId, target: Ipv6Addr, nonce: [u8; 6]) {
        self.counters.count(Counter::Icmp6OutNeighborSolicits);
        let (source, destination) = (Ipv6Addr::UNSPECIFIED, solicited_node(target));
        let envelope = Envelope { interface, source, destination, mac: None };
        self.send_ndp(now, envelope, &NeighbourSolicitation::new(target), |writer| writer.nonce(nonce));
    }

    /// Asks for routers (RFC 4861 §6.3.7).
    pub(super) fn send_router_solicitation(&mut self, now: Instant, interface: InterfaceId) {
        let Some(own_mac) = self.interface(interface).and_then(|at| at.mac()) else { return };
        let destination = ALL_ROUTERS;
        let source = self.nd_source(interface, destination);
        self.counters.count(Counter::Icmp6OutRouterSolicits);
        let envelope = Envelope { interface, source: source.unwrap_or(Ipv6Addr::UNSPECIFIED), destination, mac: None };
        let message = RouterSolicitation::new();
        self.send_ndp(now, envelope, &message, |writer| match source {
            Some(_) => writer.source_link_layer(own_mac),
            None => writer,
        });
    }

    fn send_ndp(
        &mut self,
        now: Instant,
        to: Envelope,
        message: &(impl IntoBytes + Immutable),
        options: impl for<'a> FnOnce(NdpWriter<'a>) -> NdpWriter<'a>,
    ) {
        let mut bytes = [0; LONGEST];
        let Some(len) = options(NdpWriter::new(&mut bytes, message)).finish(to.source, to.destination) else { return };
        let mut packet = Packet::copy_from(bytes.get(..len).unwrap_or_default());
        let fields = Ipv6Fields {
            traffic_class: 0,
            flow_label: 0,
            payload_len: 0,
            next_header: Protocol::ICMPV6,
            hop_limit: HOP_LIMIT,
            src: to.source,
            dst: to.destination,
        };
        self.counters.count(Counter::Icmp6OutMsgs);
        self.counters.count(Counter::Ip6OutRequests);
        IpFields::V6(fields, 0).prepend_to(&mut packet);
        self.counters[Counter::Ip6OutOctets] += packet.len() as u64;
        let mac = match to.mac {
            Some(mac) => mac,
            None if to.destination.is_multicast() => {
                self.counters.count(Counter::Ip6OutMcastPkts);
                MacAddr::multicast_v6(to.destination)
            }
            None => {
                let (interface, next_hop) = (to.interface, to.destination.into());
                match self.resolve(now, interface, next_hop, &mut NeighbourRef::default(), false, packet) {
                    Ok(Some((mac, resolved))) => {
                        packet = resolved;
                        mac
                    }
                    _ => return,
                }
            }
        };
        // A full queue counts its own drops; what is not answered is asked again.
        let _ = self.transmit_ip(to.interface, mac, true, packet);
    }
}
