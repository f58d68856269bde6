//! IPv6's fixed header (RFC 8200 §3), and addresses with a meaning (RFC 4291).

use core::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{MacAddr, Malformed, Protocol, Sum};

/// All nodes on a link: ff02::1 (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// All routers on a link: ff02::2 (RFC 4291 §2.7.1).
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// All routers that speak MLDv2, on a link: ff02::16 (RFC 9777 §5.2.14).
pub const ALL_MLDV2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// The group of all nodes with an address that ends like this one: ff02::1:ffXX:XXXX (RFC 4291 §2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (a & 0xff), b)
}

/// How far a group reaches, 0 to 15: 1 the interface, 2 the link, 5 the site, 14 the world (RFC 4291 §2.7, 7346); `None` of an
/// address that is no group.
pub const fn multicast_scope(address: Ipv6Addr) -> Option<u8> {
    match address.octets() {
        [0xff, flags_scope, ..] => Some(flags_scope & 0x0f),
        _ => None,
    }
}

/// The link-local address that an Ethernet card's address makes: fe80::/64 and its interface identifier (RFC 2464 §5).
pub fn link_local(mac: MacAddr) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(u64::from_be_bytes(mac.interface_id())))
}

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
    #[inline]
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
    #[inline]
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
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<(&Self, &[u8]), Malformed> {
        let header = Self::parse_head(packet, packet.len())?;
        let payload = packet.get(Self::LEN..Self::LEN + header.payload_len()).ok_or(Malformed::BadTotalLength)?;
        Ok((header, payload))
    }

    /// The header at the start of `head`, of a packet of `available` bytes in all.
    ///
    /// # Errors
    /// As [`Ipv6Header::parse`].
    #[inline]
    pub fn parse_head(head: &[u8], available: usize) -> Result<&Self, Malformed> {
        let header = Self::parse_quoted(head)?;
        if Self::LEN + header.payload_len() > available {
            return Err(Malformed::BadTotalLength);
        }
        Ok(header)
    }

    /// The header at the start of a packet that an ICMPv6 message quotes, perhaps cut short: its payload length is
    /// not compared with anything.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] or [`Malformed::BadVersion`].
    #[inline]
    pub fn parse_quoted(head: &[u8]) -> Result<&Self, Malformed> {
        let (header, _) = Self::ref_from_prefix(head).map_err(|_| Malformed::Truncated)?;
        if header.version() != 6 {
            return Err(Malformed::BadVersion);
        }
        Ok(header)
    }

    /// The version field; 6, after a successful parse.
    #[inline]
    pub fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// Differentiated services code point and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }

    /// The flow label, 20 bits.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & 0x000f_ffff
    }

    /// The bytes that follow this header.
    #[inline]
    pub fn payload_len(&self) -> usize {
        usize::from(self.payload_len.get())
    }

    /// Sets the number of bytes that follow the header.
    #[inline]
    pub fn set_payload_len(&mut self, len: u16) {
        self.payload_len.set(len);
    }

    /// The sender's address.
    #[inline]
    pub fn src(&self) -> Ipv6Addr {
        self.src.into()
    }

    /// The receiver's address.
    #[inline]
    pub fn dst(&self) -> Ipv6Addr {
        self.dst.into()
    }

    /// The sum of the pseudo header of an upper layer of type `protocol` and `len` bytes in this packet.
    #[inline]
    pub fn pseudo(&self, protocol: Protocol, len: u32) -> Sum {
        Sum::pseudo_v6(self.src(), self.dst(), protocol, len)
    }
}
