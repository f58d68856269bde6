//! TCP's header (RFC 9293 §3.1), with the ECN flags of RFC 3168 and RFC 9768.

use core::fmt;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Malformed, SeqNumber, TcpOptionIter};

bitflags::bitflags! {
    /// The control bits of a segment.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct TcpFlags: u16 {
        /// No more data from the sender.
        const FIN = 0x001;
        /// Synchronise sequence numbers.
        const SYN = 0x002;
        /// Reset the connection.
        const RST = 0x004;
        /// Push: deliver what is there.
        const PSH = 0x008;
        /// The acknowledgement field is significant.
        const ACK = 0x010;
        /// The urgent pointer is significant.
        const URG = 0x020;
        /// ECN echo (RFC 3168).
        const ECE = 0x040;
        /// Congestion window reduced (RFC 3168).
        const CWR = 0x080;
        /// Accurate ECN (RFC 9768); once the nonce sum.
        const AE = 0x100;
    }
}

impl fmt::Display for TcpFlags {
    /// The flags as tcpdump prints them, `S.` for a SYN with an ACK, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LETTERS: [(TcpFlags, &str); 9] = [
            (TcpFlags::FIN, "F"),
            (TcpFlags::SYN, "S"),
            (TcpFlags::RST, "R"),
            (TcpFlags::PSH, "P"),
            (TcpFlags::ACK, "."),
            (TcpFlags::URG, "U"),
            (TcpFlags::ECE, "E"),
            (TcpFlags::CWR, "W"),
            (TcpFlags::AE, "e"),
        ];
        if self.is_empty() {
            return f.write_str("none");
        }
        for (flag, letter) in LETTERS {
            if self.contains(flag) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The 20 bytes that every TCP header starts with; options may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TcpHeader {
    /// The sender's port.
    pub src_port: U16,
    /// The receiver's port.
    pub dst_port: U16,
    seq: U32,
    ack: U32,
    offset_flags: U16,
    /// The receive window, not scaled.
    pub window: U16,
    /// The checksum over pseudo header, header, options and payload.
    pub checksum: U16,
    /// Where urgent data end, from the sequence number, if [`TcpFlags::URG`] is set.
    pub urgent: U16,
}

/// The values of a TCP header that a sender chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFields {
    /// The sender's port.
    pub src_port: u16,
    /// The receiver's port.
    pub dst_port: u16,
    /// The sequence number of the first byte, or of the SYN.
    pub seq: SeqNumber,
    /// The next sequence number expected; 0 without [`TcpFlags::ACK`].
    pub ack: SeqNumber,
    /// The control bits.
    pub flags: TcpFlags,
    /// The receive window, scaled as it goes on the wire.
    pub window: u16,
    /// The urgent pointer; 0 without [`TcpFlags::URG`].
    pub urgent: u16,
}

impl TcpHeader {
    /// The length of the header without options, in bytes.
    pub const LEN: usize = size_of::<Self>();
    /// The length of the longest header, in bytes.
    pub const MAX_LEN: usize = 60;

    /// A header with checksum 0. `options_len` is the number of bytes of options that will follow: whole
    /// 32-bit words, at most 40 bytes (more is not counted).
    #[inline]
    pub fn new(fields: &TcpFields, options_len: usize) -> Self {
        let words = ((Self::LEN + options_len) / 4).min(Self::MAX_LEN / 4) as u16;
        Self {
            src_port: U16::new(fields.src_port),
            dst_port: U16::new(fields.dst_port),
            seq: U32::new(fields.seq.0),
            ack: U32::new(fields.ack.0),
            offset_flags: U16::new(words << 12 | fields.flags.bits()),
            window: U16::new(fields.window),
            checksum: U16::ZERO,
            urgent: U16::new(fields.urgent),
        }
    }

    /// The values of the header.
    pub fn fields(&self) -> TcpFields {
        TcpFields {
            src_port: self.src_port.get(),
            dst_port: self.dst_port.get(),
            seq: self.seq(),
            ack: self.ack(),
            flags: self.flags(),
            window: self.window.get(),
            urgent: self.urgent.get(),
        }
    }

    /// The sequence number of the first byte, or of the SYN.
    #[inline]
    pub fn seq(&self) -> SeqNumber {
        SeqNumber(self.seq.get())
    }

    /// Sets the sequence number.
    #[inline]
    pub fn set_seq(&mut self, seq: SeqNumber) {
        self.seq.set(seq.0);
    }

    /// The next sequence number that the sender expects, if [`TcpFlags::ACK`] is set.
    #[inline]
    pub fn ack(&self) -> SeqNumber {
        SeqNumber(self.ack.get())
    }

    /// Sets the acknowledgement number.
    #[inline]
    pub fn set_ack(&mut self, ack: SeqNumber) {
        self.ack.set(ack.0);
    }

    /// The bytes of the header with its options, as its data offset says.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.offset_flags.get() >> 12) * 4
    }

    /// The control bits.
    #[inline]
    pub fn flags(&self) -> TcpFlags {
        TcpFlags::from_bits_truncate(self.offset_flags.get())
    }

    /// Sets the control bits; the data offset and the reserved bits stay.
    #[inline]
    pub fn set_flags(&mut self, flags: TcpFlags) {
        let other = self.offset_flags.get() & !TcpFlags::all().bits();
        self.offset_flags.set(other | flags.bits());
    }
}

/// A TCP header and its options, of lengths that were checked.
#[derive(Clone, Copy, Debug)]
pub struct TcpView<'a> {
    /// The fixed part.
    pub header: &'a TcpHeader,
    /// The options: whole 32-bit words, not looked at yet.
    pub options: &'a [u8],
}

impl<'a> TcpView<'a> {
    /// Splits an IP packet's payload into the header and the segment's payload. Neither the checksum nor
    /// the options are looked at.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] or [`Malformed::BadHeaderLength`].
    #[inline]
    pub fn parse(segment: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let (header, rest) = TcpHeader::ref_from_prefix(segment).map_err(|_| Malformed::Truncated)?;
        let options_len = header.header_len().checked_sub(TcpHeader::LEN).ok_or(Malformed::BadHeaderLength)?;
        let (options, payload) = rest.split_at_checked(options_len).ok_or(Malformed::Truncated)?;
        Ok((Self { header, options }, payload))
    }

    /// The header at the start of `head`, with all its options in `head`.
    ///
    /// # Errors
    /// As [`TcpView::parse`].
    #[inline]
    pub fn parse_head(head: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse(head).map(|(view, _)| view)
    }

    /// The options one by one; an error ends them.
    #[inline]
    pub fn option_iter(&self) -> TcpOptionIter<'a> {
        TcpOptionIter::new(self.options)
    }
}
