//! TCP's options (RFC 9293 §3.1 and 3.2): maximum segment size, window scale and timestamps (RFC 7323), and
//! selective acknowledgement (RFC 2018).
//!
//! Two layouts are nearly all of the traffic. A SYN carries what Linux's does, in its order, so that we look
//! like it to middleboxes: MSS, SACK permitted, timestamps, window scale. Every other segment
//! carries the timestamps alone, aligned by two no-operations (RFC 7323's appendix A), which
//! [`timestamps_only`] reads without a loop; and SACK blocks after them when there are holes.

use core::fmt;
use core::ops::Deref;

use crate::{Malformed, SeqNumber};

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// The most bytes of options that a header has room for.
pub const MAX_OPTIONS_LEN: usize = 40;

/// The bytes of the timestamps with the two no-operations that align them.
pub const TIMESTAMPS_LEN: usize = 12;

/// One option, its length already checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// The largest payload that the sender of this SYN wants to receive, in bytes.
    MaximumSegmentSize(u16),
    /// The shift count of the sender's windows; above 14 it means 14 (RFC 7323 §2.3).
    WindowScale(u8),
    /// The sender of this SYN understands SACK blocks.
    SackPermitted,
    /// Ranges that the sender holds beyond what it acknowledges.
    Sack(SackBlocks),
    /// The sender's clock, and the latest it saw of the receiver's.
    Timestamps(u32, u32),
    /// An option that we do not know, or one that we know, of a length that it cannot have: to be
    /// ignored (RFC 9293 §3.1, MUST-6).
    Other {
        /// The option's number.
        kind: u8,
        /// What follows number and length.
        data: &'a [u8],
    },
}

/// Up to four ranges of sequence numbers, each from its first number to the one after its last
/// (RFC 2018 §3).
#[derive(Clone, Copy, Default)]
pub struct SackBlocks {
    blocks: [(SeqNumber, SeqNumber); Self::MAX],
    count: u8,
}

impl SackBlocks {
    /// The most blocks that a header has room for; with timestamps, one less.
    pub const MAX: usize = 4;

    /// No blocks.
    #[inline]
    pub const fn new() -> Self {
        Self { blocks: [(SeqNumber(0), SeqNumber(0)); Self::MAX], count: 0 }
    }

    /// Adds a block, and returns whether there was room for it.
    #[inline]
    pub fn push(&mut self, left: SeqNumber, right: SeqNumber) -> bool {
        match self.blocks.get_mut(usize::from(self.count)) {
            Some(block) => {
                *block = (left, right);
                self.count += 1;
                true
            }
            None => false,
        }
    }

    /// Drops all blocks but the first `len`.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.count = self.count.min(len.min(Self::MAX) as u8);
    }
}

impl Deref for SackBlocks {
    type Target = [(SeqNumber, SeqNumber)];

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.blocks[..usize::from(self.count).min(Self::MAX)]
    }
}

impl PartialEq for SackBlocks {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for SackBlocks {}

impl fmt::Debug for SackBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The options of a header, one by one, without the no-operations. After an error it returns nothing more.
#[derive(Clone, Debug)]
pub struct TcpOptionIter<'a> {
    rest: &'a [u8],
}

impl<'a> TcpOptionIter<'a> {
    /// The options in `options`, the bytes between the fixed header and the payload.
    #[inline]
    pub const fn new(options: &'a [u8]) -> Self {
        Self { rest: options }
    }
}

impl<'a> Iterator for TcpOptionIter<'a> {
    type Item = Result<TcpOption<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = core::mem::take(&mut self.rest);
        while let [NOP, rest @ ..] = bytes {
            bytes = rest;
        }
        let (kind, len) = match *bytes {
            [] | [END, ..] => return None,
            [_] => return Some(Err(Malformed::BadOption)),
            [kind, len, ..] => (kind, usize::from(len)),
        };
        // RFC 9293 §3.1, MUST-7: a length may lie.
        let Some(data) = bytes.get(2..len) else {
            return Some(Err(Malformed::BadOption));
        };
        self.rest = &bytes[len..];
        Some(Ok(decode(kind, data)))
    }
}

fn decode(kind: u8, data: &[u8]) -> TcpOption<'_> {
    match (kind, data) {
        (MSS, &[a, b]) => TcpOption::MaximumSegmentSize(u16::from_be_bytes([a, b])),
        (WINDOW_SCALE, &[shift]) => TcpOption::WindowScale(shift),
        (SACK_PERMITTED, []) => TcpOption::SackPermitted,
        (SACK, data) if matches!(data.as_chunks::<8>(), ([_, ..], [])) => {
            let mut blocks = SackBlocks::new();
            for &[a, b, c, d, e, f, g, h] in data.as_chunks::<8>().0 {
                let left = SeqNumber(u32::from_be_bytes([a, b, c, d]));
                let right = SeqNumber(u32::from_be_bytes([e, f, g, h]));
                blocks.push(left, right);
            }
            TcpOption::Sack(blocks)
        }
        (TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
            TcpOption::Timestamps(u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
        }
        (kind, data) => TcpOption::Other { kind, data },
    }
}

/// The options that we know, of one header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// The largest payload that the sender of this SYN wants to receive, in bytes, as it stands on the
    /// wire: it may be 0.
    pub mss: Option<u16>,
    /// The shift count of the sender's windows, as it stands on the wire: above 14 it means 14
    /// (RFC 7323 §2.3).
    pub window_scale: Option<u8>,
    /// Whether the sender of this SYN understands SACK blocks.
    pub sack_permitted: bool,
    /// The sender's clock, and the latest it saw of the receiver's.
    pub timestamps: Option<(u32, u32)>,
    /// Ranges that the sender holds beyond what it acknowledges.
    pub sack_blocks: SackBlocks,
}

impl TcpOptions {
    /// Reads the bytes between the fixed header and the payload. Of an option that comes twice, the last
    /// counts.
    ///
    /// # Errors
    /// [`Malformed::BadOption`] where a length lies.
    #[inline]
    pub fn parse(options: &[u8]) -> Result<Self, Malformed> {
        match Self::parse_usual(options) {
            Some(usual) => Ok(usual),
            None => Self::parse_any(options),
        }
    }

    /// What nearly every segment carries, and the SYN of Linux and of this stack.
    #[inline]
    fn parse_usual(options: &[u8]) -> Option<Self> {
        if let Some(timestamps) = timestamps_only(options) {
            return Some(Self { timestamps: Some(timestamps), ..Self::default() });
        }
        match *options {
            [MSS, 4, m, n, SACK_PERMITTED, 2, TIMESTAMPS, 10, a, b, c, d, e, f, g, h, NOP, WINDOW_SCALE, 3, shift] => {
                Some(Self {
                    mss: Some(u16::from_be_bytes([m, n])),
                    window_scale: Some(shift),
                    sack_permitted: true,
                    timestamps: Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))),
                    sack_blocks: SackBlocks::new(),
                })
            }
            _ => None,
        }
    }

    /// Reads the options up to the first whose length lies; what follows counts for nothing (RFC 9293 §3.1, MUST-7: prepared for
    /// it; as Linux does).
    pub fn parse_prefix(options: &[u8]) -> Self {
        if let Some(usual) = Self::parse_usual(options) {
            return usual;
        }
        let mut parsed = Self::default();
        for option in TcpOptionIter::new(options).map_while(Result::ok) {
            parsed.add(option);
        }
        parsed
    }

    fn parse_any(options: &[u8]) -> Result<Self, Malformed> {
        let mut parsed = Self::default();
        for option in TcpOptionIter::new(options) {
            parsed.add(option?);
        }
        Ok(parsed)
    }

    fn add(&mut self, option: TcpOption<'_>) {
        match option {
            TcpOption::MaximumSegmentSize(mss) => self.mss = Some(mss),
            TcpOption::WindowScale(shift) => self.window_scale = Some(shift),
            TcpOption::SackPermitted => self.sack_permitted = true,
            TcpOption::Sack(blocks) => self.sack_blocks = blocks,
            TcpOption::Timestamps(value, echo) => self.timestamps = Some((value, echo)),
            TcpOption::Other { .. } => {}
        }
    }

    /// The bytes that [`TcpOptions::emit`] writes, a multiple of 4 and at most 40.
    #[inline]
    pub fn len(&self) -> usize {
        let blocks = match self.sack_room() {
            0 => 0,
            blocks => 4 + blocks * 8,
        };
        self.len_without_sack() + blocks
    }

    /// Whether there is no option at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len_without_sack(&self) -> usize {
        let aligned_alone = self.sack_permitted && self.timestamps.is_none();
        usize::from(self.mss.is_some()) * 4
            + usize::from(self.timestamps.is_some()) * TIMESTAMPS_LEN
            + usize::from(aligned_alone) * 4
            + usize::from(self.window_scale.is_some()) * 4
    }

    /// The number of SACK blocks that fit after the other options.
    fn sack_room(&self) -> usize {
        let room = (MAX_OPTIONS_LEN - self.len_without_sack()).saturating_sub(4) / 8;
        room.min(self.sack_blocks.len())
    }

    /// Writes the options at the start of `out`, in Linux's order and with its padding, and returns their
    /// length; 0 if `out` has no room for [`TcpOptions::len`] bytes. SACK blocks that do not fit in a header
    /// are left out, the last first.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let len = self.len();
        let Some(out) = out.get_mut(..len) else {
            return 0;
        };
        let mut words = out.as_chunks_mut::<4>().0.iter_mut();
        let mut put = |word: [u8; 4]| {
            if let Some(place) = words.next() {
                *place = word;
            }
        };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            put([MSS, 4, a, b]);
        }
        if let Some((value, echo)) = self.timestamps {
            if self.sack_permitted {
                put([SACK_PERMITTED, 2, TIMESTAMPS, 10]);
            } else {
                put([NOP, NOP, TIMESTAMPS, 10]);
            }
            put(value.to_be_bytes());
            put(echo.to_be_bytes());
        } else if self.sack_permitted {
            put([NOP, NOP, SACK_PERMITTED, 2]);
        }
        if let Some(shift) = self.window_scale {
            put([NOP, WINDOW_SCALE, 3, shift]);
        }
        let blocks = self.sack_room();
        if blocks > 0 {
            put([NOP, NOP, SACK, (2 + blocks * 8) as u8]);
            for (left, right) in self.sack_blocks.iter().take(blocks) {
                put(left.0.to_be_bytes());
                put(right.0.to_be_bytes());
            }
        }
        len
    }
}

/// The timestamps, if `options` are what nearly every segment carries: two no-operations and the
/// timestamps, nothing else (RFC 7323's appendix A).
#[inline]
pub fn timestamps_only(options: &[u8]) -> Option<(u32, u32)> {
    match *options {
        [NOP, NOP, TIMESTAMPS, 10, a, b, c, d, e, f, g, h] => {
            Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])))
        }
        _ => None,
    }
}

/// Writes what [`timestamps_only`] reads.
#[inline]
pub fn emit_timestamps(out: &mut [u8; TIMESTAMPS_LEN], value: u32, echo: u32) {
    let [a, b, c, d] = value.to_be_bytes();
    let [e, f, g, h] = echo.to_be_bytes();
    *out = [NOP, NOP, TIMESTAMPS, 10, a, b, c, d, e, f, g, h];
}
