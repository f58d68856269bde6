//! UDP's header (RFC 768), which UDP-Lite shares (RFC 3828).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Malformed;

/// The 8 bytes at the head of a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct UdpHeader {
    /// The port that the datagram is from; 0 if no reply is wanted.
    pub src_port: U16,
    /// The port that the datagram is for.
    pub dst_port: U16,
    /// The bytes of the header and the payload; of UDP-Lite, those that the checksum covers.
    pub length: U16,
    /// The checksum over pseudo header, header and payload; 0 on IPv4 if there is none.
    pub checksum: U16,
}

impl UdpHeader {
    /// The header's length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A header with checksum 0; `length` counts the header's 8 bytes too.
    #[inline]
    pub fn new(src_port: u16, dst_port: u16, length: u16) -> Self {
        Self {
            src_port: U16::new(src_port),
            dst_port: U16::new(dst_port),
            length: U16::new(length),
            checksum: U16::ZERO,
        }
    }

    /// Splits an IP packet's payload into the header and the datagram's payload, without what
    /// follows the length that the header gives. The checksum is not looked at.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] or [`Malformed::BadTotalLength`].
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<(&Self, &[u8]), Malformed> {
        let header = Self::parse_head(datagram, datagram.len())?;
        let payload = datagram.get(Self::LEN..usize::from(header.length.get())).ok_or(Malformed::BadTotalLength)?;
        Ok((header, payload))
    }

    /// The header at the start of `head`, of a datagram of `available` bytes in all.
    ///
    /// # Errors
    /// As [`UdpHeader::parse`].
    #[inline]
    pub fn parse_head(head: &[u8], available: usize) -> Result<&Self, Malformed> {
        let (header, _) = Self::ref_from_prefix(head).map_err(|_| Malformed::Truncated)?;
        let length = usize::from(header.length.get());
        if length < Self::LEN || length > available {
            return Err(Malformed::BadTotalLength);
        }
        Ok(header)
    }

    /// The header at the start of `head`, of a UDP-Lite datagram of `available` bytes in all, and how many of them the checksum
    /// covers, beside a pseudo header whose length is all of them (RFC 3828 §3.1).
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadTotalLength`] of a coverage without the header or beyond the end, or
    /// [`Malformed::BadChecksum`] if there is none.
    pub fn parse_lite(head: &[u8], available: usize) -> Result<(&Self, usize), Malformed> {
        let (header, _) = Self::ref_from_prefix(head).map_err(|_| Malformed::Truncated)?;
        let covered = match usize::from(header.length.get()) {
            0 => available,
            coverage => coverage,
        };
        if covered < Self::LEN || covered > available {
            return Err(Malformed::BadTotalLength);
        }
        if header.has_checksum() { Ok((header, covered)) } else { Err(Malformed::BadChecksum) }
    }

    /// The bytes of payload that the header's length gives.
    #[inline]
    pub fn payload_len(&self) -> usize {
        usize::from(self.length.get()).saturating_sub(Self::LEN)
    }

    /// Whether the sender computed a checksum; on IPv4 it need not (RFC 768, RFC 1122 §4.1.3.4).
    #[inline]
    pub fn has_checksum(&self) -> bool {
        self.checksum.get() != 0
    }
}
