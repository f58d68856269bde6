//! Why bytes were not accepted: one name per reason, so that every drop can be counted under one.

use core::fmt;

/// The reason that a parser refused some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Malformed {
    /// Fewer bytes than the smallest valid header, or than the header says it has.
    Truncated,
    /// The IP version is not the one that the header was parsed as.
    BadVersion,
    /// A header length smaller than the fixed header (IPv4's IHL, TCP's data offset).
    BadHeaderLength,
    /// A total length smaller than the header, or larger than the bytes that arrived
    /// (IPv4's total length, IPv6's payload length, UDP's length).
    BadTotalLength,
    /// The checksum does not match.
    BadChecksum,
    /// An option's length is impossible: smaller than 2, or beyond the end of the header.
    BadOption,
    /// ARP's hardware type is not Ethernet, or its hardware address length is not 6.
    BadHardwareType,
    /// ARP's protocol type is not IPv4, or its protocol address length is not 4.
    BadProtocolType,
    /// The message's type has no such part (an ICMP message that quotes no datagram), or is another than the parser's.
    BadType,
    /// The message's type allows no such code.
    BadCode,
    /// An address that cannot stand where it does.
    BadAddress,
    /// More IPv6 extension headers than are looked at, or more bytes of them.
    ChainTooLong,
    /// More options in one header than are looked at.
    TooManyOptions,
}

impl Malformed {
    /// The reason in a few lower-case words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::BadVersion => "bad version",
            Self::BadHeaderLength => "bad header length",
            Self::BadTotalLength => "bad total length",
            Self::BadChecksum => "bad checksum",
            Self::BadOption => "bad option",
            Self::BadHardwareType => "bad hardware type",
            Self::BadProtocolType => "bad protocol type",
            Self::BadType => "bad type",
            Self::BadCode => "bad code",
            Self::BadAddress => "bad address",
            Self::ChainTooLong => "chain of headers too long",
            Self::TooManyOptions => "too many options",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Malformed {}
