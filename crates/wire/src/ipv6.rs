//! IPv6's fixed header (RFC 8200 §3).

use core::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Malformed, Protocol, Sum};

/// The 40 bytes at the head of an IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6Header {
    version_class_flow: U32,
    payload_len: U16,
    /// The type of what follows: an extension header or the upper layer.
    pub next_header: Protocol,
    /// The number of hops left.
    pub hop_limit: u8,
    src: [u8; 16],
    dst: [u8; 16],
}

/// The values of an IPv6 header that a sender chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Fields {
    /// Differentiated services code point and ECN.
    pub traffic_class: u8,
    /// The flow label, 20 bits (RFC 6437).
    pub flow_label: u32,
    /// The bytes that follow the 40 of this header, extension headers included.
    pub payload_len: u16,
    /// The type of what follows.
    pub next_header: Protocol,
    /// The number of hops left.
    pub hop_limit: u8,
    /// The sender's address.
    pub src: Ipv6Addr,
    /// The receiver's address.
    pub dst: Ipv6Addr,
}

impl Ipv6Header {
    /// The header's length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A header with these values.
    pub fn new(fields: &Ipv6Fields) -> Self {
        let first = 6 << 28 | u32::from(fields.traffic_class) << 20 | (fields.flow_label & 0x000f_ffff);
        Self {
            version_class_flow: U32::new(first),
            payload_len: U16::new(fields.payload_len),
            next_header: fields.next_header,
            hop_limit: fields.hop_limit,
            src: fields.src.octets(),
            dst: fields.dst.octets(),
        }
    }

    /// The values of the header.
    pub fn fields(&self) -> Ipv6Fields {
        Ipv6Fields {
            traffic_class: self.traffic_class(),
            flow_label: self.flow_label(),
            payload_len: self.payload_len.get(),
            next_header: self.next_header,
            hop_limit: self.hop_limit,
            src: self.src(),
            dst: self.dst(),
        }
    }

    /// Splits a packet into its header and its payload, without what follows the payload length.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadVersion`] or [`Malformed::BadTotalLength`].
    pub fn parse(packet: &[u8]) -> Result<(&Self, &[u8]), Malformed> {
        let header = Self::parse_head(packet, packet.len())?;
        let payload = packet.get(Self::LEN..Self::LEN + header.payload_len()).ok_or(Malformed::BadTotalLength)?;
        Ok((header, payload))
    }

    /// The header at the start of `head`, of a packet of `available` bytes in all.
    ///
    /// # Errors
    /// As [`Ipv6Header::parse`].
    pub fn parse_head(head: &[u8], available: usize) -> Result<&Self, Malformed> {
        let (header, _) = Self::ref_from_prefix(head).map_err(|_| Malformed::Truncated)?;
        if header.version() != 6 {
            return Err(Malformed::BadVersion);
        }
        if Self::LEN + header.payload_len() > available {
            return Err(Malformed::BadTotalLength);
        }
        Ok(header)
    }

    /// The version field; 6, after a successful parse.
    pub fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// Differentiated services code point and ECN.
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }

    /// The flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & 0x000f_ffff
    }

    /// The bytes that follow this header.
    pub fn payload_len(&self) -> usize {
        usize::from(self.payload_len.get())
    }

    /// Sets the number of bytes that follow the header.
    pub fn set_payload_len(&mut self, len: u16) {
        self.payload_len.set(len);
    }

    /// The sender's address.
    pub fn src(&self) -> Ipv6Addr {
        self.src.into()
    }

    /// The receiver's address.
    pub fn dst(&self) -> Ipv6Addr {
        self.dst.into()
    }

    /// The sum of the pseudo header of an upper layer of type `protocol` and `len` bytes in this packet.
    pub fn pseudo(&self, protocol: Protocol, len: u32) -> Sum {
        Sum::pseudo_v6(self.src(), self.dst(), protocol, len)
    }
}
