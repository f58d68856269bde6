//! What IGMPv3 (RFC 9776) and MLDv2 (RFC 9777) share: their formats differ in the length of addresses, and in the header.
//!
//! A query and a report begin with eight bytes that belong to the protocol (`igmp.rs`, `mld.rs`); what a query says after the group,
//! the records of a report, and the codes for long times are read and written here for both.

use core::fmt;
use core::marker::PhantomData;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Malformed;

/// An address of the family that a message is about: IPv4's for IGMP, IPv6's for MLD.
pub trait GroupAddress: Copy + Eq + fmt::Debug + Into<IpAddr> {
    /// Its bytes.
    type Octets: AsRef<[u8]> + for<'a> TryFrom<&'a [u8]> + Into<Self>;
    /// Its length in bytes.
    const LEN: usize = size_of::<Self::Octets>();

    /// Its bytes.
    fn bytes(self) -> Self::Octets;
}

impl GroupAddress for Ipv4Addr {
    type Octets = [u8; 4];

    fn bytes(self) -> [u8; 4] {
        self.octets()
    }
}

impl GroupAddress for Ipv6Addr {
    type Octets = [u8; 16];

    fn bytes(self) -> [u8; 16] {
        self.octets()
    }
}

/// An error unless `group` is a group, or unspecified: all groups.
pub(crate) fn check_group(group: impl Into<IpAddr>) -> Result<(), Malformed> {
    let group = group.into();
    if group.is_multicast() || group.is_unspecified() { Ok(()) } else { Err(Malformed::BadAddress) }
}

/// Source addresses in a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sources<'a, A> {
    bytes: &'a [u8],
    family: PhantomData<A>,
}

impl<'a, A: GroupAddress> Sources<'a, A> {
    /// The first `count` addresses in `bytes`, and what follows them.
    fn split(bytes: &'a [u8], count: usize) -> Result<(Self, &'a [u8]), Malformed> {
        let (bytes, rest) = bytes.split_at_checked(count * A::LEN).ok_or(Malformed::Truncated)?;
        Ok((Self { bytes, family: PhantomData }, rest))
    }

    /// None.
    pub(crate) const fn none() -> Self {
        Self { bytes: &[], family: PhantomData }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / A::LEN
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The addresses one by one.
    pub fn iter(&self) -> impl Iterator<Item = A> + use<'a, A> {
        self.bytes.chunks_exact(A::LEN).filter_map(|bytes| A::Octets::try_from(bytes).ok().map(Into::into))
    }
}

impl<A: GroupAddress> fmt::Debug for Sources<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The version of IGMP or MLD that a query is of, in IGMP's numbers: MLDv1 is IGMPv2, and MLDv2 is IGMPv3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueryVersion {
    /// IGMPv1 (RFC 1112): no time is given.
    V1,
    /// IGMPv2 (RFC 2236), MLDv1 (RFC 2710).
    V2,
    /// IGMPv3 (RFC 9776), MLDv2 (RFC 9777).
    V3,
}

/// What a router asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupQuery<A> {
    /// The version; the last three fields mean nothing below [`QueryVersion::V3`].
    pub version: QueryVersion,
    /// The time within which to answer, in milliseconds.
    pub max_response: u32,
    /// The group in question; unspecified: any.
    pub group: A,
    /// Whether other routers are not to lower their timers.
    pub suppress: bool,
    /// How often to send what may be lost, 1 to 7; 0 if the router does not say.
    pub robustness: u8,
    /// The time between general queries, in seconds; 0 if the router does not say.
    pub interval: u32,
}

impl<A: GroupAddress> GroupQuery<A> {
    /// Reads what follows the group (RFC 9776 §4.1.5 to 4.1.9, RFC 9777 §5.1.7 to 5.1.11).
    pub(crate) fn read_tail<'a>(&mut self, tail: &'a [u8]) -> Result<Sources<'a, A>, Malformed> {
        let (&[flags, interval, a, b], rest) = tail.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.suppress = flags & 8 != 0;
        self.robustness = flags & 7;
        self.interval = decode8(interval);
        let (sources, _) = Sources::split(rest, u16::from_be_bytes([a, b]).into())?;
        Ok(sources)
    }

    /// Writes what [`GroupQuery::read_tail`] reads.
    pub(crate) fn write_tail(&self, out: &mut Output<'_>, sources: &[A]) {
        let [a, b] = count(sources.len(), out);
        let flags = u8::from(self.suppress) << 3 | self.robustness.min(7);
        out.put(&[flags, encode8(self.interval), a, b]);
        for source in sources {
            out.put(source.bytes().as_ref());
        }
    }
}

/// What a record of a report says (RFC 9776 §4.2.12, RFC 9777 §5.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordKind(pub u8);

impl RecordKind {
    /// The answer to a query: listens to these sources alone.
    pub const MODE_IS_INCLUDE: Self = Self(1);
    /// The answer to a query: listens to all but these sources.
    pub const MODE_IS_EXCLUDE: Self = Self(2);
    /// From now on listens to these sources alone.
    pub const CHANGE_TO_INCLUDE: Self = Self(3);
    /// From now on listens to all but these sources.
    pub const CHANGE_TO_EXCLUDE: Self = Self(4);
    /// From now on listens to these sources too.
    pub const ALLOW_NEW_SOURCES: Self = Self(5);
    /// From now on no longer listens to these sources.
    pub const BLOCK_OLD_SOURCES: Self = Self(6);
}

/// What a report says of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRecord<'a, A: GroupAddress> {
    /// What it says; of a kind that one does not know, nothing.
    pub kind: RecordKind,
    /// The group.
    pub group: A,
    /// The sources it says it of.
    pub sources: Sources<'a, A>,
}

/// The bytes of a record before the group.
const RECORD_HEAD_LEN: usize = 4;

/// The records of a report, whose lengths were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupReport<'a, A> {
    count: usize,
    bytes: &'a [u8],
    family: PhantomData<A>,
}

impl<'a, A: GroupAddress> GroupReport<'a, A> {
    /// Checks the records in `bytes`, what follows the report's first eight, whose last two are the number of records.
    pub(crate) fn read(count: [u8; 2], bytes: &'a [u8]) -> Result<Self, Malformed> {
        let report = Self { count: u16::from_be_bytes(count).into(), bytes, family: PhantomData };
        let mut records = report.records();
        for _ in 0..report.count {
            records.next().ok_or(Malformed::Truncated)?;
        }
        Ok(report)
    }

    /// The records one by one.
    pub fn records(&self) -> RecordIter<'a, A> {
        RecordIter { left: self.count, rest: self.bytes, family: PhantomData }
    }
}

/// The records of a report, one by one.
#[derive(Clone, Debug)]
pub struct RecordIter<'a, A> {
    left: usize,
    rest: &'a [u8],
    family: PhantomData<A>,
}

impl<'a, A: GroupAddress> Iterator for RecordIter<'a, A> {
    type Item = GroupRecord<'a, A>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (&[kind, auxiliary, a, b], rest) = self.rest.split_first_chunk()?;
        let (group, rest) = rest.split_at_checked(A::LEN)?;
        let group = A::Octets::try_from(group).ok()?.into();
        let (sources, rest) = Sources::split(rest, u16::from_be_bytes([a, b]).into()).ok()?;
        // Auxiliary data, in 32-bit words, never mean anything (RFC 9776 §4.2.10).
        self.rest = rest.get(usize::from(auxiliary) * 4..)?;
        Some(GroupRecord { kind: RecordKind(kind), group, sources })
    }
}

/// Writes a report's records.
#[derive(Debug)]
pub struct ReportWriter<'a, A> {
    out: Output<'a>,
    count: u16,
    family: PhantomData<A>,
}

impl<'a, A: GroupAddress> ReportWriter<'a, A> {
    /// Begins at the start of `out`, with eight bytes for the header.
    pub(crate) fn begin(out: &'a mut [u8]) -> Self {
        let mut out = Output::new(out);
        out.put(&[0; 8]);
        Self { out, count: 0, family: PhantomData }
    }

    /// How many sources one more record has room for; `None` if there is no room for a record.
    pub fn room(&self) -> Option<usize> {
        let free = self.out.free().checked_sub(RECORD_HEAD_LEN + A::LEN)?;
        Some(free / A::LEN)
    }

    /// Adds a record, and returns whether there was room for it.
    pub fn record(&mut self, kind: RecordKind, group: A, sources: &[A]) -> bool {
        let good = self.room().is_some_and(|room| sources.len() <= room.min(u16::MAX.into())) && self.count < u16::MAX;
        if good {
            let [a, b] = count(sources.len(), &mut self.out);
            self.out.put(&[kind.0, 0, a, b]);
            for address in core::iter::once(&group).chain(sources) {
                self.out.put(address.bytes().as_ref());
            }
            self.count += 1;
        }
        good
    }

    /// The message, and the number of its records; `None` if there was no room for the header.
    pub(crate) fn end(self) -> Option<(&'a mut [u8], [u8; 2])> {
        Some((self.out.end()?, self.count.to_be_bytes()))
    }
}

/// `len` as a count of 16 bits; if it is more, nothing has room.
fn count(len: usize, out: &mut Output<'_>) -> [u8; 2] {
    let count = u16::try_from(len).ok();
    out.room &= count.is_some();
    count.unwrap_or(0).to_be_bytes()
}

/// A message being written.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    bytes: &'a mut [u8],
    len: usize,
    /// Whether everything had room so far.
    room: bool,
}

impl<'a> Output<'a> {
    /// A message at the start of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0, room: true }
    }

    /// Adds bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..).and_then(|rest| rest.get_mut(..bytes.len())) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.room = false,
        }
    }

    /// The bytes that have room still.
    fn free(&self) -> usize {
        self.bytes.len() - self.len
    }

    /// The message; `None` if not everything had room.
    pub fn end(self) -> Option<&'a mut [u8]> {
        self.bytes.get_mut(..self.len).filter(|_| self.room)
    }
}

/// A time from its code: below 2^(`mantissa` + 3) itself, else three bits of an exponent and the mantissa's (RFC 9776 §4.1.1 and
/// 4.1.7, RFC 9777 §5.1.3 and 5.1.9).
const fn decode(code: u16, mantissa: u32) -> u32 {
    let code = code as u32;
    if code < 1 << (mantissa + 3) {
        return code;
    }
    let exponent = code >> mantissa & 7;
    (code & ((1 << mantissa) - 1) | 1 << mantissa) << (exponent + 3)
}

/// The code of the longest time that is not longer than `time`.
const fn encode(time: u32, mantissa: u32) -> u16 {
    if time < 1 << (mantissa + 3) {
        return time as u16;
    }
    let exponent = time.ilog2() - mantissa - 3;
    if exponent > 7 {
        return ((1u32 << (mantissa + 4)) - 1) as u16;
    }
    let bits = time >> (exponent + 3) & ((1 << mantissa) - 1);
    (1 << (mantissa + 3) | exponent << mantissa | bits) as u16
}

/// A time from a code of 8 bits: IGMPv3's maximum response code, and the querier's interval of both.
pub const fn decode8(code: u8) -> u32 {
    decode(code as u16, 4)
}

/// The code of 8 bits of the longest time that is not longer than `time`.
pub const fn encode8(time: u32) -> u8 {
    encode(time, 4) as u8
}

/// A time from a code of 16 bits: MLDv2's maximum response code.
pub const fn decode16(code: u16) -> u32 {
    decode(code, 12)
}

/// The code of 16 bits of the longest time that is not longer than `time`.
pub const fn encode16(time: u32) -> u16 {
    encode(time, 12)
}
