//! The IP header of a packet, whichever family it is of: as it came in, and as it is to go out.

use core::net::IpAddr;

use wireway_packet::Packet;
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{FragmentHeader, Ipv4Fields, Ipv4Header, Ipv6Fields, Ipv6Header, Protocol, Sum};

use super::IpMeta;

/// The fixed part of a received packet's header.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IpHeader {
    V4(Ipv4Header),
    V6(Ipv6Header),
}

impl IpHeader {
    /// The fixed part.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            IpHeader::V4(header) => header.as_bytes(),
            IpHeader::V6(header) => header.as_bytes(),
        }
    }

    pub fn is_v6(&self) -> bool {
        matches!(self, IpHeader::V6(_))
    }

    #[inline]
    pub fn source(&self) -> IpAddr {
        match self {
            IpHeader::V4(header) => header.src().into(),
            IpHeader::V6(header) => header.src().into(),
        }
    }

    #[inline]
    pub fn destination(&self) -> IpAddr {
        match self {
            IpHeader::V4(header) => header.dst().into(),
            IpHeader::V6(header) => header.dst().into(),
        }
    }

    /// The sum of the pseudo header of `len` bytes of a transport.
    #[inline]
    pub fn pseudo(&self, protocol: u8, len: u32) -> Sum {
        match self {
            IpHeader::V4(header) => header.pseudo(len),
            IpHeader::V6(header) => header.pseudo(Protocol(protocol), len),
        }
    }
}

/// The header of packets to be sent.
#[derive(Clone, Copy)]
pub(super) enum IpFields {
    V4(Ipv4Fields),
    /// With the identification that fragments get.
    V6(Ipv6Fields, u32),
}

impl IpFields {
    /// As a transport wants it; `None` where source and destination are not of one family.
    pub fn new(meta: &IpMeta) -> Option<IpFields> {
        let protocol = Protocol(meta.protocol);
        match (meta.source, meta.destination) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(IpFields::V4(Ipv4Fields {
                tos: meta.tos,
                payload_len: 0,
                // RFC 6864 §4.1: what cannot be fragmented needs no identification.
                ident: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                ttl: meta.ttl,
                protocol,
                src,
                dst,
            })),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(IpFields::V6(
                Ipv6Fields {
                    traffic_class: meta.tos,
                    flow_label: meta.flow_label,
                    payload_len: 0,
                    next_header: protocol,
                    hop_limit: meta.ttl,
                    src,
                    dst,
                },
                0,
            )),
            _ => None,
        }
    }

    pub fn is_v6(&self) -> bool {
        matches!(self, IpFields::V6(..))
    }

    /// Bytes of the header, without what fragments have in addition.
    pub fn len(&self) -> usize {
        if self.is_v6() { Ipv6Header::LEN } else { Ipv4Header::LEN }
    }

    /// Bytes in front of a fragment's payload.
    pub fn fragment_len(&self) -> usize {
        if self.is_v6() { Ipv6Header::LEN + FragmentHeader::LEN } else { Ipv4Header::LEN }
    }

    /// The longest payload: the length field counts IPv4's header too.
    pub fn max_payload(&self) -> usize {
        if self.is_v6() { 65_535 } else { 65_535 - Ipv4Header::LEN }
    }

    /// Lets the packets be fragmented, those that are carrying this identification.
    pub fn allow_fragments(&mut self, ident: u32) {
        match self {
            IpFields::V4(fields) => (fields.dont_fragment, fields.ident) = (false, ident as u16),
            IpFields::V6(_, of_fragments) => *of_fragments = ident,
        }
    }

    /// Puts the header in front of its payload.
    pub fn prepend_to(&self, packet: &mut Packet) {
        let payload_len = packet.len();
        self.prepend_with_len(packet, payload_len);
    }

    /// Puts the header of a packet with `payload_len` bytes in front of the beginning of its payload.
    pub fn prepend_with_len(&self, packet: &mut Packet, payload_len: usize) {
        let payload_len = payload_len.min(self.max_payload()) as u16;
        match self {
            IpFields::V4(fields) => {
                let header = Ipv4Header::new(&Ipv4Fields { payload_len, ..*fields }, &[]);
                packet.prepend(Ipv4Header::LEN).copy_from_slice(header.as_bytes());
            }
            IpFields::V6(fields, _) => {
                let header = Ipv6Header::new(&Ipv6Fields { payload_len, ..*fields });
                packet.prepend(Ipv6Header::LEN).copy_from_slice(header.as_bytes());
            }
        }
    }

    /// Puts the header of a fragment in front of its payload.
    pub fn prepend_to_fragment(&self, packet: &mut Packet, offset: u16, more: bool) {
        match *self {
            IpFields::V4(fields) => {
                IpFields::V4(Ipv4Fields { fragment_offset: offset, more_fragments: more, ..fields }).prepend_to(packet);
            }
            IpFields::V6(fields, ident) => {
                let header = FragmentHeader::new(fields.next_header, offset, more, ident);
                packet.prepend(FragmentHeader::LEN).copy_from_slice(header.as_bytes());
                let next_header = Protocol::FRAGMENT;
                IpFields::V6(Ipv6Fields { next_header, ..fields }, ident).prepend_to(packet);
            }
        }
    }
}
