//! IPv6's extension headers (RFC 8200 §4): the walk along their chain, bounded in headers and in bytes.
//!
//! Each header names the type of the next. Those that a host reads are known here; any other type ends the chain, since
//! nothing says how long a header of a type that one does not know is (RFC 7045 §2.1 keeps new ones from being made; RFC 6564's
//! layout is not assumed). So the chain ends at a transport, at "no next header", at ESP (what follows is encrypted), at an
//! unknown type, within a fragment that is not the first, at a second fragment header, and at a hop-by-hop header that is not the
//! first header. Whoever has no use for the type at which it ends answers with "unrecognized next header" and
//! [`Ipv6Chain::pointer`].
//!
//! All offsets count from the IPv6 header's first byte, as the pointer of an ICMPv6 parameter problem does.

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Ipv6Header, Ipv6OptionIter, Malformed, Protocol};

/// The most extension headers that are looked at.
pub const MAX_HEADERS: usize = 8;

/// The most bytes of extension headers that are looked at. RFC 8504 §5.3 lets a host set limits.
pub const MAX_CHAIN_LEN: usize = 512;

const MORE_FRAGMENTS: u16 = 1;
const OFFSET_MASK: u16 = 0xfff8;

/// The 8 bytes of a fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FragmentHeader {
    /// What the fragmentable part starts with, in every fragment.
    pub next_header: Protocol,
    reserved: u8,
    offset_flags: U16,
    ident: U32,
}

impl FragmentHeader {
    /// The header's length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A header; `offset` is in bytes, a multiple of 8 (lower bits are dropped).
    pub fn new(next_header: Protocol, offset: u16, more_fragments: bool, ident: u32) -> Self {
        let offset_flags = (offset & OFFSET_MASK) | u16::from(more_fragments);
        Self { next_header, reserved: 0, offset_flags: U16::new(offset_flags), ident: U32::new(ident) }
    }

    /// The header at the start of `bytes`, and what follows it.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below 8 bytes.
    pub fn parse(bytes: &[u8]) -> Result<(&Self, &[u8]), Malformed> {
        Self::ref_from_prefix(bytes).map_err(|_| Malformed::Truncated)
    }

    /// Where what follows belongs in the fragmentable part, in bytes.
    pub fn offset(&self) -> u16 {
        self.offset_flags.get() & OFFSET_MASK
    }

    /// Whether this is not the last fragment.
    pub fn more_fragments(&self) -> bool {
        self.offset_flags.get() & MORE_FRAGMENTS != 0
    }

    /// The identification that a packet's fragments share.
    pub fn ident(&self) -> u32 {
        self.ident.get()
    }

    /// Whether this one fragment is the whole packet: it is taken alone, whatever else waits (RFC 6946 §4).
    pub fn is_atomic(&self) -> bool {
        self.offset() == 0 && !self.more_fragments()
    }
}

/// The 4 bytes that every routing header starts with (RFC 8200 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RoutingHeader {
    /// The type of what follows.
    pub next_header: Protocol,
    length: u8,
    /// The variant; type 0 must be treated as unknown (RFC 5095 §3).
    pub routing_type: u8,
    /// The nodes still to visit. At 0 the header is skipped; else a host that does not know the type answers
    /// with a parameter problem that points at [`RoutingHeader::TYPE_OFFSET`].
    pub segments_left: u8,
}

impl RoutingHeader {
    /// Where the routing type stands in the header.
    pub const TYPE_OFFSET: usize = 2;
}

/// What kind an extension header is of, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionKind<'a> {
    /// Options for every node on the way (RFC 8200 §4.3).
    HopByHop(Ipv6OptionIter<'a>),
    /// Options for the destination (RFC 8200 §4.6).
    Destination(Ipv6OptionIter<'a>),
    /// A routing header (RFC 8200 §4.4).
    Routing(&'a RoutingHeader),
    /// A fragment header (RFC 8200 §4.5).
    Fragment(&'a FragmentHeader),
    /// An authentication header (RFC 4302 §2), which nothing here verifies.
    Authentication,
}

/// One extension header, whose length was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// What it is.
    pub kind: ExtensionKind<'a>,
    /// Where it starts, from the IPv6 header's first byte.
    pub offset: usize,
    /// Its length in bytes.
    pub len: usize,
    /// The type of what follows it.
    pub next_header: Protocol,
}

/// The extension headers of a packet, in order. After an error it returns nothing more.
#[derive(Clone, Debug)]
pub struct ExtensionIter<'a> {
    rest: &'a [u8],
    chain: Ipv6Chain,
    count: usize,
    failed: bool,
}

impl<'a> ExtensionIter<'a> {
    /// The headers in `payload`, what follows the IPv6 header, which names `next_header` as the first. Only the extension
    /// headers have to be there: for a packet whose payload is scattered.
    #[inline]
    pub fn new(next_header: Protocol, payload: &'a [u8]) -> Self {
        let pointer = core::mem::offset_of!(Ipv6Header, next_header);
        let chain = Ipv6Chain { protocol: next_header, len: 0, pointer, fragment: None };
        Self { rest: payload, chain, count: 0, failed: false }
    }

    /// What is known by the headers returned so far.
    #[inline]
    pub fn so_far(&self) -> Ipv6Chain {
        self.chain
    }

    /// Whether what follows is an extension header that we know.
    #[inline]
    fn goes_on(&self) -> bool {
        match self.chain.protocol {
            // RFC 8200 §4.1: at once after the IPv6 header, or not at all.
            Protocol::HOP_BY_HOP => self.count == 0,
            Protocol::FRAGMENT => self.chain.fragment.is_none(),
            Protocol::ROUTING | Protocol::AUTHENTICATION | Protocol::DESTINATION_OPTIONS => self.chain.has_transport(),
            _ => false,
        }
    }

    fn read(&mut self) -> Result<Extension<'a>, Malformed> {
        if self.count == MAX_HEADERS {
            return Err(Malformed::ChainTooLong);
        }
        let &[next_header, length, ..] = self.rest else {
            return Err(Malformed::Truncated);
        };
        let next_header = Protocol(next_header);
        let length = usize::from(length);
        let len = match self.chain.protocol {
            Protocol::FRAGMENT => FragmentHeader::LEN,
            // In units of 4 bytes, less 2, but a multiple of 8 bytes (RFC 4302 §2.2, 2.6).
            Protocol::AUTHENTICATION if length < 2 || length % 2 == 1 => return Err(Malformed::BadHeaderLength),
            Protocol::AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        if self.chain.len + len > MAX_CHAIN_LEN {
            return Err(Malformed::ChainTooLong);
        }
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        let offset = self.chain.offset();
        let options = || Ipv6OptionIter::new(bytes.get(2..).unwrap_or_default(), offset + 2);
        let kind = match self.chain.protocol {
            Protocol::HOP_BY_HOP => ExtensionKind::HopByHop(options()),
            Protocol::DESTINATION_OPTIONS => ExtensionKind::Destination(options()),
            Protocol::ROUTING => {
                let (header, _) = RoutingHeader::ref_from_prefix(bytes).map_err(|_| Malformed::Truncated)?;
                ExtensionKind::Routing(header)
            }
            Protocol::FRAGMENT => {
                let (header, _) = FragmentHeader::parse(bytes)?;
                self.chain.fragment = Some((offset, *header));
                ExtensionKind::Fragment(header)
            }
            _ => ExtensionKind::Authentication,
        };
        self.count += 1;
        self.rest = rest;
        self.chain.len += len;
        self.chain.pointer = offset;
        self.chain.protocol = next_header;
        Ok(Extension { kind, offset, len, next_header })
    }
}

impl<'a> Iterator for ExtensionIter<'a> {
    type Item = Result<Extension<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || !self.goes_on() {
            return None;
        }
        let read = self.read();
        self.failed = read.is_err();
        Some(read)
    }
}

/// Where a chain of extension headers ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Chain {
    /// The type of what follows: a transport, or another at which the chain ends.
    pub protocol: Protocol,
    /// The bytes of the extension headers.
    pub len: usize,
    /// Where the field stands that names `protocol`, from the IPv6 header's first byte.
    pub pointer: usize,
    /// The fragment header and where it starts, from the IPv6 header's first byte.
    pub fragment: Option<(usize, FragmentHeader)>,
}

impl Ipv6Chain {
    /// Walks along the extension headers in `payload`, what follows the IPv6 header, which names `next_header` as the first. Options
    /// are not looked at.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if `payload` ends within the chain (in a first fragment: RFC 7112 §5),
    /// [`Malformed::BadHeaderLength`] or [`Malformed::ChainTooLong`].
    #[inline]
    pub fn parse(next_header: Protocol, payload: &[u8]) -> Result<Self, Malformed> {
        let mut headers = ExtensionIter::new(next_header, payload);
        for header in &mut headers {
            header?;
        }
        Ok(headers.chain)
    }

    /// Where what follows the chain starts, from the IPv6 header's first byte.
    #[inline]
    pub fn offset(&self) -> usize {
        Ipv6Header::LEN + self.len
    }

    /// Whether what follows is the start of `protocol`'s header, not the middle of a datagram.
    #[inline]
    pub fn has_transport(&self) -> bool {
        self.fragment.is_none_or(|(_, header)| header.offset() == 0)
    }
}
