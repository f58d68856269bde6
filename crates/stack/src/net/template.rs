//! The short way out: a packet like the last one to the same destination.
//!
//! # Theory of operation
//!
//! Nearly all packets of a transfer have the same Ethernet and IP headers but for the length and, of IPv4, the checksum.
//! A destination's cache entry therefore keeps the headers of the last packet that went to it whole (IPv4: with DF), together with
//! what of [`IpMeta`] they were made of. A packet to which all of that applies, while the neighbour is believed reachable, gets
//! a copy of them. Whatever is different goes the long way (`output.rs`), which makes the template anew.
//!
//! A connection, whose packets are all alike, keeps a [`Path`]: a copy of the template with the generation of the cache it is from. While
//! that is the present one nothing about the way there has changed, and nothing needs to be looked up or compared.

use core::net::IpAddr;

use wireway_packet::{Instant, Packet};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{EtherType, EthernetHeader, Ipv4Header, Ipv6Header, MacAddr, Sum};

use super::header::IpFields;
use super::neighbour::NeighbourRef;
use super::{IpMeta, Net, RouteKind};
use crate::counters::Counter;
use crate::{Error, InterfaceId, Result};

const HEADERS_V4: usize = EthernetHeader::LEN + Ipv4Header::LEN;
const HEADERS_V6: usize = EthernetHeader::LEN + Ipv6Header::LEN;
/// Where IPv4's total length and checksum lie in the headers, and IPv6's payload length and the word with its flow label.
const TOTAL_LEN: usize = EthernetHeader::LEN + 2;
const CHECKSUM: usize = EthernetHeader::LEN + 10;
const PAYLOAD_LEN: usize = EthernetHeader::LEN + 4;
const VERSION_CLASS_LABEL: usize = EthernetHeader::LEN;
/// The longest payload, of either family, that has a length field.
const MAX_PAYLOAD: usize = 65_535 - Ipv4Header::LEN;

/// Headers to be used again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    source: IpAddr,
    protocol: u8,
    ttl: u8,
    tos: u8,
    mac: MacAddr,
    headers: Headers,
}

#[derive(Clone, Copy, Debug)]
enum Headers {
    /// With a total length and a checksum of 0, and the sum of the IPv4 header.
    V4([u8; HEADERS_V4], Sum),
    /// With a payload length of 0.
    V6([u8; HEADERS_V6]),
}

impl Headers {
    fn ip_len(&self) -> u16 {
        match self {
            Headers::V4(..) => Ipv4Header::LEN as u16,
            Headers::V6(..) => Ipv6Header::LEN as u16,
        }
    }
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

    /// The template for packets of a flow, each of which has a label of its own.
    fn labelled(mut self, flow_label: u32) -> Template {
        if let Headers::V6(bytes) = &mut self.headers
            && let Some(word) = bytes.get_mut(VERSION_CLASS_LABEL..).and_then(|rest| rest.first_chunk_mut::<4>())
        {
            *word = (u32::from_be_bytes(*word) & 0xfff0_0000 | flow_label).to_be_bytes();
        }
        self
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
    /// Of the path's MTU, what the IP header leaves.
    room: u16,
    template: Template,
}

/// The longest payload of an IP packet that will leave.
fn longest(packet: &Packet) -> usize {
    match packet.offload().segmentation {
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
            && longest(&packet) <= usize::from(way.room)
            && packet.len() <= MAX_PAYLOAD
            && self.reachable_neighbour(now, way.neighbour, meta.confirm) == Some(way.template.mac)
        {
            return self.transmit_alike(way.interface, &way.template, packet);
        }
        let result = self.send_ip(now, meta, packet);
        *path = Path(self.way(meta));
        result
    }

    fn way(&mut self, meta: &IpMeta) -> Option<Way> {
        let generation = self.destinations.generation;
        let destination = self.destination(meta.destination, meta.interface).ok()?;
        let (interface, neighbour, mtu) = (destination.route.interface, destination.neighbour, destination.route.mtu);
        let template = destination.template.filter(|template| template.fits(meta))?.labelled(meta.flow_label);
        let room = mtu.saturating_sub(template.headers.ip_len());
        Some(Way { generation, interface, neighbour, room, template })
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
        let (interface, neighbour, mtu) = (destination.route.interface, destination.neighbour, destination.route.mtu);
        let whole = longest(&packet) + usize::from(template.headers.ip_len()) <= usize::from(mtu);
        if !whole
            || packet.len() > MAX_PAYLOAD
            || !template.fits(meta)
            || self.reachable_neighbour(now, neighbour, meta.confirm) != Some(template.mac)
        {
            return Err(packet);
        }
        Ok(self.transmit_alike(interface, &template.labelled(meta.flow_label), packet))
    }

    /// Puts a packet with a template's headers into an interface's queue.
    #[inline(always)]
    fn transmit_alike(&mut self, interface: InterfaceId, template: &Template, mut packet: Packet) -> Result<()> {
        let at = self.interfaces.get_mut(usize::from(interface.0)).ok_or(Error::NoDevice)?;
        let len = packet.len();
        match &template.headers {
            Headers::V4(bytes, sum) => {
                let total_len = (Ipv4Header::LEN + len) as u16;
                self.counters.count(Counter::IpOutRequests);
                self.counters[Counter::IpExtOutOctets] += u64::from(total_len);
                let headers = packet.prepend(HEADERS_V4);
                headers.copy_from_slice(bytes);
                let mut sum = *sum;
                sum.add_u16(total_len);
                for (place, value) in [(TOTAL_LEN, total_len), (CHECKSUM, sum.finish())] {
                    if let Some(field) = headers.get_mut(place..place + 2) {
                        field.copy_from_slice(&value.to_be_bytes());
                    }
                }
            }
            Headers::V6(bytes) => {
                self.counters.count(Counter::Ip6OutRequests);
                self.counters[Counter::Ip6OutOctets] += (Ipv6Header::LEN + len) as u64;
                let headers = packet.prepend(HEADERS_V6);
                headers.copy_from_slice(bytes);
                if let Some(field) = headers.get_mut(PAYLOAD_LEN..PAYLOAD_LEN + 2) {
                    field.copy_from_slice(&(len as u16).to_be_bytes());
                }
            }
        }
        at.enqueue(packet).or_else(|frame| self.not_queued(interface, frame))
    }

    /// Keeps the headers of a packet that went the long way, whole and with DF.
    pub(super) fn make_template(&mut self, now: Instant, meta: &IpMeta, fields: &IpFields) {
        let Ok(destination) = self.destination(meta.destination, meta.interface) else { return };
        let (route, neighbour) = (destination.route, destination.neighbour);
        let usable = route.kind == RouteKind::Unicast && !destination.mtu_locked && !meta.ignore_path_mtu;
        let own = self.interfaces.get(usize::from(route.interface.0)).and_then(|at| at.mac());
        let (Some(own), Some(mac)) = (own, self.reachable_neighbour(now, neighbour, false)) else { return };
        if !usable {
            return;
        }
        // The headers of a packet without payload, as it would leave.
        let mut packet = Packet::new();
        fields.prepend_to(&mut packet);
        let ethertype = if fields.is_v6() { EtherType::IPV6 } else { EtherType::IPV4 };
        let link = EthernetHeader::new(mac, own, ethertype);
        packet.prepend(EthernetHeader::LEN).copy_from_slice(link.as_bytes());
        let headers = match fields {
            IpFields::V4(_) => {
                let mut bytes = [0; HEADERS_V4];
                packet.copy_to(0, &mut bytes);
                for place in [TOTAL_LEN, CHECKSUM] {
                    if let Some(field) = bytes.get_mut(place..place + 2) {
                        field.fill(0);
                    }
                }
                let sum = Sum::of(bytes.get(EthernetHeader::LEN..).unwrap_or_default());
                Headers::V4(bytes, sum)
            }
            IpFields::V6(..) => {
                let mut bytes = [0; HEADERS_V6];
                packet.copy_to(0, &mut bytes);
                Headers::V6(bytes)
            }
        };
        let template =
            Template { source: meta.source, protocol: meta.protocol, ttl: meta.ttl, tos: meta.tos, mac, headers };
        if let Ok(destination) = self.destination(meta.destination, meta.interface) {
            destination.template = Some(template);
        }
    }
}
