//! The short way out: a packet like the last one to the same destination.
//!
//! # Theory of operation
//!
//! Nearly all packets of a transfer have the same Ethernet and IPv4 headers but for two fields, the length and the checksum.
//! A destination's cache entry therefore keeps the headers of the last packet that went to it whole and with DF, together with
//! what of [`IpMeta`] they were made of. A packet to which all of that applies, while the neighbour is believed reachable, gets
//! a copy of them. Whatever is different goes the long way (`ipv4.rs`), which makes the template anew.
//!
//! A connection, whose packets are all alike, keeps a [`Path`]: a copy of the template with the generation of the cache it is from. While
//! that is the present one nothing about the way there has changed, and nothing needs to be looked up or compared.

use core::net::IpAddr;

use wireway_packet::{Instant, Packet};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{EtherType, EthernetHeader, Ipv4Fields, Ipv4Header, MacAddr, Protocol, Sum};

use super::neighbour::NeighbourRef;
use super::{IpMeta, Net, RouteKind};
use crate::counters::{Counter, DropReason};
use crate::{Error, InterfaceId, Result};

const HEADERS: usize = EthernetHeader::LEN + Ipv4Header::LEN;
/// Where the total length and the checksum lie in the headers.
const TOTAL_LEN: usize = EthernetHeader::LEN + 2;
const CHECKSUM: usize = EthernetHeader::LEN + 10;

/// Headers to be used again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    source: IpAddr,
    protocol: u8,
    ttl: u8,
    tos: u8,
    mac: MacAddr,
    /// With a total length and a checksum of 0.
    bytes: [u8; HEADERS],
    /// The sum of the IPv4 header in `bytes`.
    sum: Sum,
}

impl Template {
    /// Whether a packet that is to be sent so has these headers.
    fn fits(&self, meta: &IpMeta) -> bool {
        meta.dont_fragment
            && !meta.ignore_path_mtu
            && self.source == meta.source
            && self.protocol == meta.protocol
            && self.ttl == meta.ttl
            && self.tos == meta.tos
    }
}

/// The headers of a sender's packets, and where they go. The default is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Path(Option<Way>);

#[derive(Clone, Copy, Debug)]
struct Way {
    /// Of the cache of destinations, when this was copied from it.
    generation: u32,
    interface: InterfaceId,
    neighbour: NeighbourRef,
    mtu: u16,
    template: Template,
}

/// The length of the longest packet that will leave, with its IPv4 header.
fn longest(packet: &Packet) -> usize {
    Ipv4Header::LEN
        + match packet.offload().segmentation {
            Some(s) => usize::from(s.header_len) + usize::from(s.size),
            None => packet.len(),
        }
}

impl Net {
    /// As [`send_ip`](Self::send_ip), for a sender of many packets that differ in `confirm` only: when anything else of `meta` changes,
    /// it has to forget its `path`.
    pub fn send_by(&mut self, now: Instant, path: &mut Path, meta: &IpMeta, packet: Packet) -> Result<()> {
        if let Path(Some(way)) = path
            && way.generation == self.destinations.generation
            && longest(&packet) <= usize::from(way.mtu)
            && let Ok(total_len) = u16::try_from(Ipv4Header::LEN + packet.len())
            && self.reachable_neighbour(now, way.neighbour, meta.confirm) == Some(way.template.mac)
        {
            return self.transmit_alike(way.interface, &way.template, total_len, packet);
        }
        let result = self.send_ip(now, meta, packet);
        *path = Path(self.way(meta));
        result
    }

    fn way(&mut self, meta: &IpMeta) -> Option<Way> {
        let generation = self.destinations.generation;
        let destination = self.destination(meta.destination, meta.interface).ok()?;
        let (interface, neighbour, mtu) = (destination.route.interface, destination.neighbour, destination.route.mtu);
        let template = destination.template.filter(|template| template.fits(meta))?;
        Some(Way { generation, interface, neighbour, mtu, template })
    }

    /// Sends a packet as the last one to its destination was sent, or gives it back if that does not fit it.
    #[inline]
    pub(super) fn send_alike(
        &mut self,
        now: Instant,
        meta: &IpMeta,
        packet: Packet,
    ) -> core::result::Result<Result<()>, Packet> {
        let Ok(destination) = self.destination(meta.destination, meta.interface) else { return Err(packet) };
        let Some(template) = destination.template else { return Err(packet) };
        let total = Ipv4Header::LEN + packet.len();
        let (interface, neighbour, mtu) = (destination.route.interface, destination.neighbour, destination.route.mtu);
        let alike = template.fits(meta) && longest(&packet) <= usize::from(mtu);
        let Ok(total_len) = u16::try_from(total) else { return Err(packet) };
        if !alike || self.reachable_neighbour(now, neighbour, meta.confirm) != Some(template.mac) {
            return Err(packet);
        }
        Ok(self.transmit_alike(interface, &template, total_len, packet))
    }

    /// Puts a packet with a template's headers into an interface's queue.
    #[inline(always)]
    fn transmit_alike(
        &mut self,
        interface: InterfaceId,
        template: &Template,
        total_len: u16,
        mut packet: Packet,
    ) -> Result<()> {
        let at = self.interfaces.get_mut(usize::from(interface.0)).ok_or(Error::NoDevice)?;
        self.counters.count(Counter::IpOutRequests);
        self.counters[Counter::IpExtOutOctets] += u64::from(total_len);
        let headers = packet.prepend(HEADERS);
        headers.copy_from_slice(&template.bytes);
        let mut sum = template.sum;
        sum.add_u16(total_len);
        for (place, value) in [(TOTAL_LEN, total_len), (CHECKSUM, sum.finish())] {
            if let Some(field) = headers.get_mut(place..place + 2) {
                field.copy_from_slice(&value.to_be_bytes());
            }
        }
        at.enqueue(packet).map_err(|frame| {
            self.drop_packet(DropReason::QueueFull, frame);
            Error::NoBuffers
        })
    }

    /// Keeps the headers of a packet that went the long way, whole and with DF.
    pub(super) fn make_template(&mut self, now: Instant, meta: &IpMeta) {
        let Ok(destination) = self.destination(meta.destination, meta.interface) else { return };
        let (route, neighbour) = (destination.route, destination.neighbour);
        let usable = route.kind == RouteKind::Unicast && !destination.mtu_locked && !meta.ignore_path_mtu;
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (meta.source, meta.destination) else { return };
        let own = self.interfaces.get(usize::from(route.interface.0)).and_then(|at| at.mac());
        let (Some(own), Some(mac)) = (own, self.reachable_neighbour(now, neighbour, false)) else { return };
        if !usable {
            return;
        }
        let fields = Ipv4Fields {
            tos: meta.tos,
            payload_len: 0,
            // RFC 6864 §4.1: what cannot be fragmented needs no identification.
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: meta.ttl,
            protocol: Protocol(meta.protocol),
            src,
            dst,
        };
        let mut bytes = [0; HEADERS];
        let (link, network) = bytes.split_at_mut(EthernetHeader::LEN);
        link.copy_from_slice(EthernetHeader::new(mac, own, EtherType::IPV4).as_bytes());
        network.copy_from_slice(Ipv4Header::new(&fields, &[]).as_bytes());
        for place in [TOTAL_LEN, CHECKSUM] {
            if let Some(field) = bytes.get_mut(place..place + 2) {
                field.fill(0);
            }
        }
        let sum = Sum::of(bytes.get(EthernetHeader::LEN..).unwrap_or_default());
        let template =
            Template { source: meta.source, protocol: meta.protocol, ttl: meta.ttl, tos: meta.tos, mac, bytes, sum };
        if let Ok(destination) = self.destination(meta.destination, meta.interface) {
            destination.template = Some(template);
        }
    }
}
