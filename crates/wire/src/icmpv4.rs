//! ICMP for IPv4 (RFC 792), with the codes of RFC 1122 and RFC 1812, the MTU of RFC 1191 and the length of RFC 4884.

use core::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Ipv4View, Malformed, Sum};

/// The type of an ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub struct Icmpv4Type(pub u8);

impl Icmpv4Type {
    /// Echo reply.
    pub const ECHO_REPLY: Self = Self(0);
    /// Destination unreachable; the code is one of [`mod@unreachable`].
    pub const DESTINATION_UNREACHABLE: Self = Self(3);
    /// Source quench, obsolete (RFC 6633).
    pub const SOURCE_QUENCH: Self = Self(4);
    /// Redirect; the code is one of [`mod@redirect`].
    pub const REDIRECT: Self = Self(5);
    /// Echo request.
    pub const ECHO_REQUEST: Self = Self(8);
    /// Time exceeded; the code is one of [`mod@time_exceeded`].
    pub const TIME_EXCEEDED: Self = Self(11);
    /// Parameter problem; code 0 points at a byte.
    pub const PARAMETER_PROBLEM: Self = Self(12);
    /// Timestamp request.
    pub const TIMESTAMP_REQUEST: Self = Self(13);
    /// Timestamp reply.
    pub const TIMESTAMP_REPLY: Self = Self(14);

    /// Whether the message reports an error about a datagram that it quotes. No error is ever
    /// sent about an error (RFC 1122 §3.2.2).
    pub const fn is_error(self) -> bool {
        matches!(self.0, 3 | 4 | 5 | 11 | 12)
    }
}

/// The codes of [`Icmpv4Type::DESTINATION_UNREACHABLE`] (RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1).
pub mod unreachable {
    /// No route to the network.
    pub const NETWORK: u8 = 0;
    /// The host does not answer.
    pub const HOST: u8 = 1;
    /// The host has no such protocol.
    pub const PROTOCOL: u8 = 2;
    /// Nobody listens on the port.
    pub const PORT: u8 = 3;
    /// Too long for the next link, and may not be fragmented; carries that link's MTU (RFC 1191).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// The source route failed.
    pub const SOURCE_ROUTE_FAILED: u8 = 5;
    /// Destination network unknown.
    pub const NETWORK_UNKNOWN: u8 = 6;
    /// Destination host unknown.
    pub const HOST_UNKNOWN: u8 = 7;
    /// Source host isolated.
    pub const HOST_ISOLATED: u8 = 8;
    /// Network prohibited by an administrator.
    pub const NETWORK_PROHIBITED: u8 = 9;
    /// Host prohibited by an administrator.
    pub const HOST_PROHIBITED: u8 = 10;
    /// Network unreachable for this type of service.
    pub const NETWORK_TOS: u8 = 11;
    /// Host unreachable for this type of service.
    pub const HOST_TOS: u8 = 12;
    /// Communication prohibited by an administrator.
    pub const COMMUNICATION_PROHIBITED: u8 = 13;
    /// Host precedence violation.
    pub const PRECEDENCE_VIOLATION: u8 = 14;
    /// Precedence cut-off in effect.
    pub const PRECEDENCE_CUTOFF: u8 = 15;
}

/// The codes of [`Icmpv4Type::TIME_EXCEEDED`].
pub mod time_exceeded {
    /// No hop was left.
    pub const TTL: u8 = 0;
    /// Not all fragments came in time.
    pub const REASSEMBLY: u8 = 1;
}

/// The codes of [`Icmpv4Type::REDIRECT`].
pub mod redirect {
    /// For the network.
    pub const NETWORK: u8 = 0;
    /// For the host.
    pub const HOST: u8 = 1;
    /// For the network and type of service.
    pub const NETWORK_TOS: u8 = 2;
    /// For the host and type of service.
    pub const HOST_TOS: u8 = 3;
}

/// The 8 bytes at the head of an ICMP message; the checksum covers these and all that follows, with no
/// pseudo header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmpv4Header {
    /// The message's type.
    pub kind: Icmpv4Type,
    /// The message's code, whose meaning depends on the type.
    pub code: u8,
    /// The checksum over the whole message.
    pub checksum: U16,
    /// Four bytes whose meaning depends on the type.
    pub rest: [u8; 4],
}

impl Icmpv4Header {
    /// The header's length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A header with checksum 0: see [`Icmpv4Header::fill_checksum`].
    pub fn new(kind: Icmpv4Type, code: u8, rest: [u8; 4]) -> Self {
        let checksum = U16::ZERO;
        Self { kind, code, checksum, rest }
    }

    /// The header of an echo request or reply, with checksum 0.
    pub fn echo(kind: Icmpv4Type, ident: u16, sequence: u16) -> Self {
        let [a, b] = ident.to_be_bytes();
        let [c, d] = sequence.to_be_bytes();
        Self::new(kind, 0, [a, b, c, d])
    }

    /// The header of "too long, and may not be fragmented", with checksum 0; `mtu` is the next link's
    /// (RFC 1191 §4).
    pub fn fragmentation_needed(mtu: u16) -> Self {
        let [a, b] = mtu.to_be_bytes();
        Self::new(Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::FRAGMENTATION_NEEDED, [0, 0, a, b])
    }

    /// Splits an IP packet's payload into the header and what follows. The checksum is not looked at:
    /// see [`verify_checksum`].
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below 8 bytes.
    pub fn parse(message: &[u8]) -> Result<(&Self, &[u8]), Malformed> {
        Self::ref_from_prefix(message).map_err(|_| Malformed::Truncated)
    }

    /// Computes the checksum over the header and `payload`, the sum of what will follow it.
    pub fn fill_checksum(&mut self, payload: Sum) {
        self.checksum = U16::ZERO;
        let mut sum = Sum::of(self.as_bytes());
        sum.add_sum(payload);
        self.checksum.set(sum.finish());
    }

    /// The identifier of an echo or a timestamp.
    pub fn ident(&self) -> u16 {
        u16::from_be_bytes([self.rest[0], self.rest[1]])
    }

    /// The sequence number of an echo or a timestamp.
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.rest[2], self.rest[3]])
    }

    /// The next link's MTU in "fragmentation needed"; 0 from a router older than RFC 1191.
    pub fn mtu(&self) -> u16 {
        u16::from_be_bytes([self.rest[2], self.rest[3]])
    }

    /// The better gateway in a redirect.
    pub fn gateway(&self) -> Ipv4Addr {
        self.rest.into()
    }

    /// The byte of the quoted datagram that a parameter problem is about.
    pub fn pointer(&self) -> u8 {
        self.rest[0]
    }

    /// The datagram that an error message quotes, from `payload`, what follows this header. At least its
    /// IP header is there, and as much of what followed as the sender sent.
    ///
    /// # Errors
    /// [`Malformed::BadType`] if messages of this type quote none, else as [`Ipv4View::parse_quoted`].
    pub fn quoted<'a>(&self, payload: &'a [u8]) -> Result<Quoted<'a>, Malformed> {
        if !self.kind.is_error() {
            return Err(Malformed::BadType);
        }
        // RFC 4884 §4: a length in 32-bit words, where extensions follow the quoted datagram.
        let has_length = matches!(
            self.kind,
            Icmpv4Type::DESTINATION_UNREACHABLE | Icmpv4Type::TIME_EXCEEDED | Icmpv4Type::PARAMETER_PROBLEM
        );
        let words = usize::from(self.rest[1]);
        let original = match payload.get(..words * 4) {
            Some(original) if has_length && words > 0 => original,
            _ => payload,
        };
        let ip = Ipv4View::parse_quoted(original)?;
        let end = original.len().min(ip.header.total_len());
        let payload = original.get(ip.header.header_len()..end).unwrap_or_default();
        Ok(Quoted { ip, payload })
    }
}

/// The start of a datagram that an ICMP error quotes.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a> {
    /// Its IP header; the total length is the datagram's own, not that of the quotation.
    pub ip: Ipv4View<'a>,
    /// The start of what followed: 8 bytes by RFC 792, more by RFC 1812 §4.3.2.3; a hostile sender may
    /// quote fewer.
    pub payload: &'a [u8],
}

/// Checks the checksum over a whole message.
///
/// # Errors
/// [`Malformed::BadChecksum`].
pub fn verify_checksum(message: &[u8]) -> Result<(), Malformed> {
    if Sum::of(message).is_valid() { Ok(()) } else { Err(Malformed::BadChecksum) }
}
