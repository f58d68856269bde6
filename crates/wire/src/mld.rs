//! Multicast listener discovery for IPv6: MLDv1 (RFC 2710) and MLDv2 (RFC 9777), as ICMPv6 messages.
//!
//! Version 1's messages are one format, [`MldV1Message`]; of queries the length tells the version. Source addresses, hop limit 1 and
//! the router alert are the stack's to look at, and the checksum is ICMPv6's.

use core::net::Ipv6Addr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::icmpv6::fill_checksum;
use crate::membership::{self, GroupQuery, GroupReport, Output, QueryVersion, ReportWriter, Sources};
use crate::{Icmpv6Header, Icmpv6Type, Malformed};

/// What an MLD router asks.
pub type MldQuery = GroupQuery<Ipv6Addr>;

/// The records of an MLDv2 report.
pub type MldReport<'a> = GroupReport<'a, Ipv6Addr>;

/// Writes an MLDv2 report.
pub type MldReportWriter<'a> = ReportWriter<'a, Ipv6Addr>;

/// The 24 bytes of MLDv1's report and done, and the start of any version's query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MldV1Message {
    header: Icmpv6Header,
    group: [u8; 16],
}

impl MldV1Message {
    /// The message's length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// The whole message "I listen to `group`", that goes from `src` to the group itself (RFC 2710 §5).
    pub fn report(src: Ipv6Addr, group: Ipv6Addr) -> Self {
        Self::new(Icmpv6Type::MLD_REPORT_V1, group, src, group)
    }

    /// The whole message "I no longer listen to `group`", that goes from `src` to all routers (RFC 2710 §4).
    pub fn done(src: Ipv6Addr, group: Ipv6Addr) -> Self {
        Self::new(Icmpv6Type::MLD_DONE, group, src, crate::ipv6::ALL_ROUTERS)
    }

    fn new(kind: Icmpv6Type, group: Ipv6Addr, src: Ipv6Addr, dst: Ipv6Addr) -> Self {
        let mut message = Self { header: Icmpv6Header::new(kind, 0, [0; 4]), group: group.octets() };
        fill_checksum(src, dst, message.as_mut_bytes());
        message
    }

    /// A report or a done; what follows it is ignored (RFC 2710 §3.7).
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadType`], or [`Malformed::BadAddress`] if the group is none.
    pub fn parse(message: &[u8]) -> Result<&Self, Malformed> {
        let (message, _) = Self::ref_from_prefix(message).map_err(|_| Malformed::Truncated)?;
        if !matches!(message.kind(), Icmpv6Type::MLD_REPORT_V1 | Icmpv6Type::MLD_DONE) {
            return Err(Malformed::BadType);
        }
        if message.group().is_multicast() { Ok(message) } else { Err(Malformed::BadAddress) }
    }

    /// [`Icmpv6Type::MLD_REPORT_V1`] or [`Icmpv6Type::MLD_DONE`].
    pub fn kind(&self) -> Icmpv6Type {
        self.header.kind
    }

    /// The group.
    pub fn group(&self) -> Ipv6Addr {
        self.group.into()
    }
}

impl MldQuery {
    /// A query of either version (RFC 9777 §8.1), and the sources it is about.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] also for the lengths between the versions', [`Malformed::BadType`], or [`Malformed::BadAddress`] if
    /// the group is none.
    pub fn parse(message: &[u8]) -> Result<(Self, Sources<'_, Ipv6Addr>), Malformed> {
        let (fixed, tail) = MldV1Message::ref_from_prefix(message).map_err(|_| Malformed::Truncated)?;
        if fixed.kind() != Icmpv6Type::MLD_QUERY {
            return Err(Malformed::BadType);
        }
        membership::check_group(fixed.group())?;
        let [a, b, ..] = fixed.header.rest;
        let code = u16::from_be_bytes([a, b]);
        let (version, max_response) = match tail {
            [] => (QueryVersion::V2, code.into()),
            _ => (QueryVersion::V3, membership::decode16(code)),
        };
        let group = fixed.group();
        let mut query = Self { version, max_response, group, suppress: false, robustness: 0, interval: 0 };
        let sources = if tail.is_empty() { Sources::none() } else { query.read_tail(tail)? };
        Ok((query, sources))
    }

    /// Writes the query at the start of `out`, with its checksum for the way from `src` to `dst`, and returns its length; `None` if it
    /// has no room. `sources` only go with version 3.
    pub fn emit(&self, out: &mut [u8], sources: &[Ipv6Addr], src: Ipv6Addr, dst: Ipv6Addr) -> Option<usize> {
        let code = match self.version {
            QueryVersion::V3 => membership::encode16(self.max_response),
            _ => self.max_response.try_into().unwrap_or(u16::MAX),
        };
        let [a, b] = code.to_be_bytes();
        let mut out = Output::new(out);
        out.put(Icmpv6Header::new(Icmpv6Type::MLD_QUERY, 0, [a, b, 0, 0]).as_bytes());
        out.put(&self.group.octets());
        if self.version == QueryVersion::V3 {
            self.write_tail(&mut out, sources);
        }
        let message = out.end()?;
        fill_checksum(src, dst, message);
        Some(message.len())
    }
}

impl<'a> MldReport<'a> {
    /// A report of version 2 (RFC 9777 §5.2).
    ///
    /// # Errors
    /// [`Malformed::Truncated`] or [`Malformed::BadType`].
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let (header, records) = Icmpv6Header::parse(message)?;
        if header.kind != Icmpv6Type::MLD_REPORT_V2 {
            return Err(Malformed::BadType);
        }
        let [.., a, b] = header.rest;
        Self::read([a, b], records)
    }
}

impl<'a> MldReportWriter<'a> {
    /// Begins a report of version 2 at the start of `out`, which is as long as the packet may be.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self::begin(out)
    }

    /// Computes the checksum for the way from `src` to `dst`, and returns the message's length; `None` if not even the header had room.
    pub fn finish(self, src: Ipv6Addr, dst: Ipv6Addr) -> Option<usize> {
        let (message, [a, b]) = self.end()?;
        let header = Icmpv6Header::new(Icmpv6Type::MLD_REPORT_V2, 0, [0, 0, a, b]);
        header.write_to_prefix(message).ok()?;
        fill_checksum(src, dst, message);
        Some(message.len())
    }
}
