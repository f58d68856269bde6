//! IGMP: groups of IPv4, versions 1 (RFC 1112), 2 (RFC 2236) and 3 (RFC 9776).
//!
//! Of queries the length and the code tell the version (RFC 9776 §7.1). TTL 1 and the router alert are the stack's to look at.

use core::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::membership::{self, GroupQuery, GroupReport, Output, QueryVersion, ReportWriter, Sources};
use crate::{Malformed, Sum};

/// All hosts on a link: 224.0.0.1 (RFC 1112 §4).
pub const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

/// All routers on a link: 224.0.0.2.
pub const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);

/// All routers that speak IGMPv3, on a link: 224.0.0.22 (RFC 9776 §4.2.14).
pub const ALL_IGMPV3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);

/// The time of an IGMPv1 query, which says none, in milliseconds (RFC 2236 §4).
const V1_MAX_RESPONSE: u32 = 10_000;

/// What an IGMP router asks.
pub type IgmpQuery = GroupQuery<Ipv4Addr>;

/// The records of an IGMPv3 report.
pub type IgmpReport<'a> = GroupReport<'a, Ipv4Addr>;

/// Writes an IGMPv3 report.
pub type IgmpReportWriter<'a> = ReportWriter<'a, Ipv4Addr>;

/// The type of an IGMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub struct IgmpType(pub u8);

impl IgmpType {
    /// A router's query.
    pub const QUERY: Self = Self(0x11);
    /// IGMPv1's report (RFC 1112).
    pub const REPORT_V1: Self = Self(0x12);
    /// IGMPv2's report (RFC 2236).
    pub const REPORT_V2: Self = Self(0x16);
    /// IGMPv2's leave (RFC 2236).
    pub const LEAVE: Self = Self(0x17);
    /// IGMPv3's report (RFC 9776 §4.2).
    pub const REPORT_V3: Self = Self(0x22);
}

/// The 8 bytes of messages before version 3, and the start of any query; the checksum covers these and all that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IgmpHeader {
    /// The message's type.
    pub kind: IgmpType,
    /// A query's maximum response code.
    code: u8,
    checksum: U16,
    group: [u8; 4],
}

impl IgmpHeader {
    /// The header's length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A whole report of version 1 or 2, or a leave, with its checksum. A report goes to the group itself, a leave to
    /// [`ALL_ROUTERS`] (RFC 2236 §9).
    pub fn new(kind: IgmpType, group: Ipv4Addr) -> Self {
        let mut header = Self { kind, code: 0, checksum: U16::ZERO, group: group.octets() };
        header.checksum.set(Sum::of(header.as_bytes()).finish());
        header
    }

    /// The header of a message of any type. The checksum is not looked at: see [`verify_checksum`].
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below 8 bytes.
    pub fn parse(message: &[u8]) -> Result<(&Self, &[u8]), Malformed> {
        Self::ref_from_prefix(message).map_err(|_| Malformed::Truncated)
    }

    /// The group; of a query, perhaps unspecified: any. A report of version 3 has none here.
    pub fn group(&self) -> Ipv4Addr {
        self.group.into()
    }
}

impl IgmpQuery {
    /// A query of any version, and the sources it is about.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] also for the lengths between the versions', [`Malformed::BadType`], or [`Malformed::BadAddress`] if
    /// the group is none.
    pub fn parse(message: &[u8]) -> Result<(Self, Sources<'_, Ipv4Addr>), Malformed> {
        let (header, tail) = IgmpHeader::parse(message)?;
        if header.kind != IgmpType::QUERY {
            return Err(Malformed::BadType);
        }
        membership::check_group(header.group())?;
        // In tenths of a second.
        let (version, max_response) = match (tail, header.code) {
            ([], 0) => (QueryVersion::V1, V1_MAX_RESPONSE),
            ([], code) => (QueryVersion::V2, u32::from(code) * 100),
            (_, code) => (QueryVersion::V3, membership::decode8(code) * 100),
        };
        let group = header.group();
        let mut query = Self { version, max_response, group, suppress: false, robustness: 0, interval: 0 };
        let sources = if tail.is_empty() { Sources::none() } else { query.read_tail(tail)? };
        Ok((query, sources))
    }

    /// Writes the query at the start of `out`, with its checksum, and returns its length; `None` if it has no room. `sources` only
    /// go with version 3.
    pub fn emit(&self, out: &mut [u8], sources: &[Ipv4Addr]) -> Option<usize> {
        let tenths = self.max_response / 100;
        let code = match self.version {
            QueryVersion::V1 => 0,
            QueryVersion::V2 => tenths.clamp(1, 255) as u8,
            QueryVersion::V3 => membership::encode8(tenths),
        };
        let mut out = Output::new(out);
        out.put(&[IgmpType::QUERY.0, code, 0, 0]);
        out.put(&self.group.octets());
        if self.version == QueryVersion::V3 {
            self.write_tail(&mut out, sources);
        }
        finish(out.end()?)
    }
}

impl<'a> IgmpReport<'a> {
    /// A report of version 3 (RFC 9776 §4.2).
    ///
    /// # Errors
    /// [`Malformed::Truncated`] or [`Malformed::BadType`].
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let (header, records) = IgmpHeader::parse(message)?;
        if header.kind != IgmpType::REPORT_V3 {
            return Err(Malformed::BadType);
        }
        let [.., a, b] = header.group;
        Self::read([a, b], records)
    }
}

impl<'a> IgmpReportWriter<'a> {
    /// Begins a report of version 3 at the start of `out`, which is as long as the packet may be.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self::begin(out)
    }

    /// Computes the checksum, and returns the message's length; `None` if not even the header had room.
    pub fn finish(self) -> Option<usize> {
        let (message, [a, b]) = self.end()?;
        let header = IgmpHeader { kind: IgmpType::REPORT_V3, code: 0, checksum: U16::ZERO, group: [0, 0, a, b] };
        header.write_to_prefix(message).ok()?;
        finish(message)
    }
}

/// Fills in the checksum of a whole message, and returns its length.
fn finish(message: &mut [u8]) -> Option<usize> {
    let sum = Sum::of(message).finish();
    let (header, _) = IgmpHeader::mut_from_prefix(message).ok()?;
    header.checksum.set(sum);
    Some(message.len())
}

/// Checks the checksum over a whole message.
///
/// # Errors
/// [`Malformed::BadChecksum`].
pub fn verify_checksum(message: &[u8]) -> Result<(), Malformed> {
    if Sum::of(message).is_valid() { Ok(()) } else { Err(Malformed::BadChecksum) }
}
