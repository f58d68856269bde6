//! ICMP for IPv6 (RFC 4443), with the code of RFC 7112, those of RFC 8883 and the length of RFC 4884.

use core::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Ipv6Chain, Ipv6Header, Malformed, Protocol, Sum};

/// The type of an ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub struct Icmpv6Type(pub u8);

impl Icmpv6Type {
    /// Destination unreachable; the code is one of [`mod@unreachable`].
    pub const DESTINATION_UNREACHABLE: Self = Self(1);
    /// Packet too big; carries the next link's MTU.
    pub const PACKET_TOO_BIG: Self = Self(2);
    /// Time exceeded; the code is one of [`mod@time_exceeded`].
    pub const TIME_EXCEEDED: Self = Self(3);
    /// Parameter problem, which points at a byte; the code is one of [`mod@parameter_problem`].
    pub const PARAMETER_PROBLEM: Self = Self(4);
    /// Echo request.
    pub const ECHO_REQUEST: Self = Self(128);
    /// Echo reply.
    pub const ECHO_REPLY: Self = Self(129);
    /// MLD's query (RFC 2710, 9777).
    pub const MLD_QUERY: Self = Self(130);
    /// MLDv1's report (RFC 2710).
    pub const MLD_REPORT_V1: Self = Self(131);
    /// MLDv1's done (RFC 2710).
    pub const MLD_DONE: Self = Self(132);
    /// Router solicitation (RFC 4861 §4.1).
    pub const ROUTER_SOLICITATION: Self = Self(133);
    /// Router advertisement (RFC 4861 §4.2).
    pub const ROUTER_ADVERTISEMENT: Self = Self(134);
    /// Neighbour solicitation (RFC 4861 §4.3).
    pub const NEIGHBOUR_SOLICITATION: Self = Self(135);
    /// Neighbour advertisement (RFC 4861 §4.4).
    pub const NEIGHBOUR_ADVERTISEMENT: Self = Self(136);
    /// Redirect (RFC 4861 §4.5).
    pub const REDIRECT: Self = Self(137);
    /// MLDv2's report (RFC 9777 §5.2).
    pub const MLD_REPORT_V2: Self = Self(143);

    /// Whether the message reports an error about a packet that it quotes: one that nobody knows does too (RFC 4443 §2.1). No
    /// error is ever sent about an error, nor about a redirect (RFC 4443 §2.4 (e)).
    pub const fn is_error(self) -> bool {
        self.0 < 128
    }
}

/// The codes of [`Icmpv6Type::DESTINATION_UNREACHABLE`] (RFC 4443 §3.1).
pub mod unreachable {
    /// No route to the destination.
    pub const NO_ROUTE: u8 = 0;
    /// Communication prohibited by an administrator.
    pub const PROHIBITED: u8 = 1;
    /// The source's scope ends before the destination.
    pub const BEYOND_SCOPE: u8 = 2;
    /// The address cannot be reached: the neighbour does not answer, for one.
    pub const ADDRESS: u8 = 3;
    /// Nobody listens on the port.
    pub const PORT: u8 = 4;
    /// The source address failed an ingress or egress policy.
    pub const SOURCE_POLICY: u8 = 5;
    /// A route that rejects.
    pub const REJECT_ROUTE: u8 = 6;
}

/// The codes of [`Icmpv6Type::TIME_EXCEEDED`] (RFC 4443 §3.3).
pub mod time_exceeded {
    /// No hop was left.
    pub const HOP_LIMIT: u8 = 0;
    /// Not all fragments came in time.
    pub const REASSEMBLY: u8 = 1;
}

/// The codes of [`Icmpv6Type::PARAMETER_PROBLEM`] (RFC 4443 §3.4).
pub mod parameter_problem {
    /// A header's field makes no sense.
    pub const HEADER_FIELD: u8 = 0;
    /// A type of next header that the node does not know.
    pub const NEXT_HEADER: u8 = 1;
    /// An option that the node does not know.
    pub const OPTION: u8 = 2;
    /// A first fragment without the whole chain of headers (RFC 7112 §5).
    pub const INCOMPLETE_CHAIN: u8 = 3;
    /// An extension header that is too long for the node (RFC 8883 §2.3).
    pub const HEADER_TOO_BIG: u8 = 6;
    /// A chain of extension headers with too many bytes for the node (RFC 8883 §2.4).
    pub const CHAIN_TOO_LONG: u8 = 7;
    /// More extension headers than the node looks at (RFC 8883 §2.5).
    pub const TOO_MANY_HEADERS: u8 = 8;
    /// More options in one extension header than the node looks at (RFC 8883 §2.6).
    pub const TOO_MANY_OPTIONS: u8 = 9;
    /// An option that is too long for the node (RFC 8883 §2.7).
    pub const OPTION_TOO_BIG: u8 = 10;
}

/// The 8 bytes at the head of an ICMPv6 message; the checksum covers the pseudo header, these and all that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmpv6Header {
    /// The message's type.
    pub kind: Icmpv6Type,
    /// The message's code, whose meaning depends on the type.
    pub code: u8,
    /// The checksum over pseudo header and message.
    pub checksum: U16,
    /// Four bytes whose meaning depends on the type.
    pub rest: [u8; 4],
}

impl Icmpv6Header {
    /// The header's length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A header with checksum 0: see [`Icmpv6Header::fill_checksum`].
    pub fn new(kind: Icmpv6Type, code: u8, rest: [u8; 4]) -> Self {
        let checksum = U16::ZERO;
        Self { kind, code, checksum, rest }
    }

    /// The header of an echo request or reply, with checksum 0.
    pub fn echo(kind: Icmpv6Type, ident: u16, sequence: u16) -> Self {
        let [a, b] = ident.to_be_bytes();
        let [c, d] = sequence.to_be_bytes();
        Self::new(kind, 0, [a, b, c, d])
    }

    /// The header of "packet too big", with checksum 0; `mtu` is the next link's.
    pub fn packet_too_big(mtu: u32) -> Self {
        Self::new(Icmpv6Type::PACKET_TOO_BIG, 0, mtu.to_be_bytes())
    }

    /// The header of a parameter problem, with checksum 0; `pointer` is the byte in question, from the IPv6 header's first.
    pub fn parameter_problem(code: u8, pointer: u32) -> Self {
        Self::new(Icmpv6Type::PARAMETER_PROBLEM, code, pointer.to_be_bytes())
    }

    /// Splits an IP packet's payload into the header and what follows. The checksum is not looked at:
    /// see [`verify_checksum`].
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below 8 bytes.
    pub fn parse(message: &[u8]) -> Result<(&Self, &[u8]), Malformed> {
        Self::ref_from_prefix(message).map_err(|_| Malformed::Truncated)
    }

    /// Computes the checksum over the pseudo header (see [`Sum::pseudo_v6`]), the header and `payload`, the sum of what will
    /// follow it.
    pub fn fill_checksum(&mut self, pseudo: Sum, payload: Sum) {
        self.checksum = U16::ZERO;
        let mut sum = pseudo;
        sum.add_bytes(self.as_bytes());
        sum.add_sum(payload);
        self.checksum.set(sum.finish());
    }

    /// The identifier of an echo.
    pub fn ident(&self) -> u16 {
        u16::from_be_bytes([self.rest[0], self.rest[1]])
    }

    /// The sequence number of an echo.
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.rest[2], self.rest[3]])
    }

    /// The next link's MTU in "packet too big"; below 1,280 no link's (RFC 8200 §5), and to be ignored (RFC 8201 §4).
    pub fn mtu(&self) -> u32 {
        u32::from_be_bytes(self.rest)
    }

    /// The byte of the quoted packet that a parameter problem is about, perhaps beyond what is quoted.
    pub fn pointer(&self) -> u32 {
        u32::from_be_bytes(self.rest)
    }

    /// The packet that an error message quotes, from `payload`, what follows this header. At least its IPv6 header is there,
    /// and as much of what followed as the sender sent.
    ///
    /// # Errors
    /// [`Malformed::BadType`] if messages of this type quote none, [`Malformed::Truncated`] or [`Malformed::BadVersion`].
    pub fn quoted<'a>(&self, payload: &'a [u8]) -> Result<QuotedV6<'a>, Malformed> {
        if !self.kind.is_error() {
            return Err(Malformed::BadType);
        }
        // RFC 4884 §4: a length in 64-bit words, where extensions follow the quoted packet.
        let has_length = matches!(self.kind, Icmpv6Type::DESTINATION_UNREACHABLE | Icmpv6Type::TIME_EXCEEDED);
        let words = usize::from(self.rest[0]);
        let original = match payload.get(..words * 8) {
            Some(original) if has_length && words > 0 => original,
            _ => payload,
        };
        let ip = Ipv6Header::parse_quoted(original)?;
        let end = original.len().min(Ipv6Header::LEN + ip.payload_len());
        let payload = original.get(Ipv6Header::LEN..end).unwrap_or_default();
        Ok(QuotedV6 { ip, payload })
    }
}

/// The start of a packet that an ICMPv6 error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedV6<'a> {
    /// Its IPv6 header; the payload length is the packet's own, not that of the quotation.
    pub ip: &'a Ipv6Header,
    /// The start of what followed, extension headers included. RFC 4443 has as much as fits in 1,280 bytes; a hostile
    /// sender may quote less.
    pub payload: &'a [u8],
}

impl<'a> QuotedV6<'a> {
    /// The chain of its extension headers, and what followed them: the start of the transport's header, if
    /// [`Ipv6Chain::has_transport`].
    ///
    /// # Errors
    /// As [`Ipv6Chain::parse`].
    pub fn transport(&self) -> Result<(Ipv6Chain, &'a [u8]), Malformed> {
        let chain = Ipv6Chain::parse(self.ip.next_header, self.payload)?;
        Ok((chain, self.payload.get(chain.len..).unwrap_or_default()))
    }
}

/// The sum of a whole message with its pseudo header.
fn sum(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> Sum {
    let mut sum = Sum::pseudo_v6(src, dst, Protocol::ICMPV6, message.len() as u32);
    sum.add_bytes(message);
    sum
}

/// Checks the checksum over a whole message, sent from `src` to `dst`.
///
/// # Errors
/// [`Malformed::BadChecksum`].
pub fn verify_checksum(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> Result<(), Malformed> {
    if sum(src, dst, message).is_valid() { Ok(()) } else { Err(Malformed::BadChecksum) }
}

/// Computes the checksum of a whole message that goes from `src` to `dst`; of one without a header, nothing.
pub fn fill_checksum(src: Ipv6Addr, dst: Ipv6Addr, message: &mut [u8]) {
    if let Ok((header, rest)) = Icmpv6Header::mut_from_prefix(message) {
        let len = (Icmpv6Header::LEN + rest.len()) as u32;
        header.fill_checksum(Sum::pseudo_v6(src, dst, Protocol::ICMPV6, len), Sum::of(rest));
    }
}
