//! IPv4's header (RFC 791), with the differentiated services field (RFC 2474) and ECN (RFC 3168).

use core::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum;
use crate::{Ipv4OptionIter, Malformed, Protocol, Sum};

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// The 20 bytes that every IPv4 header starts with; options may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4Header {
    version_ihl: u8,
    tos: u8,
    total_len: U16,
    ident: U16,
    flags_offset: U16,
    ttl: u8,
    protocol: Protocol,
    checksum: U16,
    src: [u8; 4],
    dst: [u8; 4],
}

/// The values of an IPv4 header that a sender chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Fields {
    /// Differentiated services code point and ECN.
    pub tos: u8,
    /// The bytes that follow the header and its options.
    pub payload_len: u16,
    /// The identification that a datagram's fragments share.
    pub ident: u16,
    /// Whether routers may not fragment the packet.
    pub dont_fragment: bool,
    /// Whether this is a fragment and not the last one.
    pub more_fragments: bool,
    /// Where the payload belongs in the datagram, in bytes; a multiple of 8.
    pub fragment_offset: u16,
    /// The number of hops left.
    pub ttl: u8,
    /// What the packet carries.
    pub protocol: Protocol,
    /// The sender's address.
    pub src: Ipv4Addr,
    /// The receiver's address.
    pub dst: Ipv4Addr,
}

impl Ipv4Header {
    /// The length of the header without options, in bytes.
    pub const LEN: usize = size_of::<Self>();
    /// The length of the longest header, in bytes.
    pub const MAX_LEN: usize = 60;

    /// A header with its checksum. `options` are what will follow it: whole 32-bit words, at most 40 bytes
    /// (the caller pads them; what is beyond is not counted). A total length above 65,535 is
    /// cut to that.
    #[inline]
    pub fn new(fields: &Ipv4Fields, options: &[u8]) -> Self {
        let words = (Self::LEN / 4 + options.len() / 4).min(Self::MAX_LEN / 4);
        let mut flags_offset = (fields.fragment_offset / 8) & OFFSET_MASK;
        if fields.dont_fragment {
            flags_offset |= DONT_FRAGMENT;
        }
        if fields.more_fragments {
            flags_offset |= MORE_FRAGMENTS;
        }
        let mut header = Self {
            version_ihl: 0x40 | words as u8,
            tos: fields.tos,
            total_len: U16::new(fields.payload_len.saturating_add(words as u16 * 4)),
            ident: U16::new(fields.ident),
            flags_offset: U16::new(flags_offset),
            ttl: fields.ttl,
            protocol: fields.protocol,
            checksum: U16::ZERO,
            src: fields.src.octets(),
            dst: fields.dst.octets(),
        };
        header.fill_checksum(options);
        header
    }

    /// The values of the header.
    pub fn fields(&self) -> Ipv4Fields {
        Ipv4Fields {
            tos: self.tos,
            payload_len: self.payload_len() as u16,
            ident: self.ident.get(),
            dont_fragment: self.dont_fragment(),
            more_fragments: self.more_fragments(),
            fragment_offset: self.fragment_offset(),
            ttl: self.ttl,
            protocol: self.protocol,
            src: self.src(),
            dst: self.dst(),
        }
    }

    /// Computes the checksum over the header and the options that follow it.
    #[inline]
    pub fn fill_checksum(&mut self, options: &[u8]) {
        self.checksum = U16::ZERO;
        let mut sum = Sum::of(self.as_bytes());
        sum.add_bytes(options);
        self.checksum.set(sum.finish());
    }

    /// The version field; 4, after a successful parse.
    #[inline]
    pub fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// The bytes of the header with its options, as its IHL says.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.version_ihl & 0x0f) * 4
    }

    /// Whether it is of version 4 and has no options.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.version_ihl == 0x45
    }

    /// The bytes of the packet, header included.
    #[inline]
    pub fn total_len(&self) -> usize {
        usize::from(self.total_len.get())
    }

    /// The bytes that follow the header and its options.
    #[inline]
    pub fn payload_len(&self) -> usize {
        self.total_len().saturating_sub(self.header_len())
    }

    /// Sets the bytes of the packet, header included, and brings the checksum up to date.
    #[inline]
    pub fn set_total_len(&mut self, total_len: u16) {
        let sum = checksum::update(self.checksum.get(), self.total_len.get(), total_len);
        self.total_len.set(total_len);
        self.checksum.set(sum);
    }

    /// The identification that a datagram's fragments share.
    #[inline]
    pub fn ident(&self) -> u16 {
        self.ident.get()
    }

    /// Sets the identification, and brings the checksum up to date.
    #[inline]
    pub fn set_ident(&mut self, ident: u16) {
        let sum = checksum::update(self.checksum.get(), self.ident.get(), ident);
        self.ident.set(ident);
        self.checksum.set(sum);
    }

    /// Differentiated services code point (6 bits) and ECN (2 bits): the old type of service.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.tos
    }

    /// The differentiated services code point, 0 to 63.
    #[inline]
    pub fn dscp(&self) -> u8 {
        self.tos >> 2
    }

    /// The ECN field, 0 to 3.
    #[inline]
    pub fn ecn(&self) -> u8 {
        self.tos & 3
    }

    /// Whether routers may not fragment the packet.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset.get() & DONT_FRAGMENT != 0
    }

    /// Whether this is a fragment and not the last one.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.flags_offset.get() & MORE_FRAGMENTS != 0
    }

    /// Where the payload belongs in the datagram, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        (self.flags_offset.get() & OFFSET_MASK) * 8
    }

    /// Whether this is a fragment: the first, the last or one between.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.flags_offset.get() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// The number of hops left.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Sets the number of hops left, and brings the checksum up to date.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        let word = |ttl| u16::from_be_bytes([ttl, self.protocol.0]);
        let sum = checksum::update(self.checksum.get(), word(self.ttl), word(ttl));
        self.ttl = ttl;
        self.checksum.set(sum);
    }

    /// What the packet carries.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The checksum field.
    #[inline]
    pub fn checksum(&self) -> u16 {
        self.checksum.get()
    }

    /// The sender's address.
    #[inline]
    pub fn src(&self) -> Ipv4Addr {
        self.src.into()
    }

    /// The receiver's address.
    #[inline]
    pub fn dst(&self) -> Ipv4Addr {
        self.dst.into()
    }

    /// The sum of the pseudo header of a transport segment of `len` bytes in this packet.
    #[inline]
    pub fn pseudo(&self, len: u32) -> Sum {
        Sum::pseudo_v4(self.src(), self.dst(), self.protocol, len)
    }
}

/// An IPv4 header and its options, of lengths that were checked.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4View<'a> {
    /// The fixed part.
    pub header: &'a Ipv4Header,
    /// The options: whole 32-bit words, not looked at yet.
    pub options: &'a [u8],
}

impl<'a> Ipv4View<'a> {
    /// Splits a packet into its header and its payload, without what follows the total length
    /// (a short Ethernet frame is padded). The checksum is not looked at: see
    /// [`Ipv4View::verify_checksum`]; nor are the options: see [`Ipv4View::option_iter`].
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadVersion`], [`Malformed::BadHeaderLength`] or
    /// [`Malformed::BadTotalLength`].
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let view = Self::parse_head(packet, packet.len())?;
        let payload = packet.get(view.header.header_len()..view.header.total_len()).ok_or(Malformed::BadTotalLength)?;
        Ok((view, payload))
    }

    /// The header at the start of `head`, of a packet of `available` bytes in all.
    ///
    /// # Errors
    /// As [`Ipv4View::parse`].
    #[inline]
    pub fn parse_head(head: &'a [u8], available: usize) -> Result<Self, Malformed> {
        let view = Self::parse_quoted(head)?;
        let total_len = view.header.total_len();
        if total_len < view.header.header_len() || total_len > available {
            return Err(Malformed::BadTotalLength);
        }
        Ok(view)
    }

    /// The header at the start of a packet that an ICMP message quotes, perhaps cut short: its total length
    /// is not compared with anything.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadVersion`] or [`Malformed::BadHeaderLength`].
    #[inline]
    pub fn parse_quoted(head: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = Ipv4Header::ref_from_prefix(head).map_err(|_| Malformed::Truncated)?;
        if header.version() != 4 {
            return Err(Malformed::BadVersion);
        }
        let options_len = header.header_len().checked_sub(Ipv4Header::LEN).ok_or(Malformed::BadHeaderLength)?;
        let options = rest.get(..options_len).ok_or(Malformed::Truncated)?;
        Ok(Self { header, options })
    }

    /// Checks the header's checksum (RFC 1122 §3.2.1.2).
    ///
    /// # Errors
    /// [`Malformed::BadChecksum`].
    #[inline]
    pub fn verify_checksum(&self) -> Result<(), Malformed> {
        let mut sum = Sum::of(self.header.as_bytes());
        sum.add_bytes(self.options);
        if sum.is_valid() { Ok(()) } else { Err(Malformed::BadChecksum) }
    }

    /// The options one by one; an error ends them.
    #[inline]
    pub fn option_iter(&self) -> Ipv4OptionIter<'a> {
        Ipv4OptionIter::new(self.options)
    }
}
