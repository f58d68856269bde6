//! What a program asks, read from hostile bytes: the messages of a datagram, their headers and attributes (netlink(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::NlasIterator;
use rustix::io::Errno;

use super::Refusal;

/// Bytes of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// One message of a datagram.
pub(super) struct Request<'a> {
    /// All of it, for errors to quote.
    pub raw: &'a [u8],
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first message of a datagram, and what comes after it. `None` where there is none, or its length lies.
    pub(super) fn read(datagram: &'a [u8]) -> Option<(Request<'a>, &'a [u8])> {
        let header: &[u8; HEADER] = datagram.first_chunk()?;
        let word = |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
        let length = word(0) as usize;
        let raw = datagram.get(..length)?;
        let request = Request {
            raw,
            kind: word(4) as u16,
            flags: (word(4) >> 16) as u16,
            sequence: word(8),
            body: raw.get(HEADER..)?,
        };
        Some((request, datagram.get(length.next_multiple_of(4)..).unwrap_or_default()))
    }

    /// Whether all of these flags (NLM_F_*) are set.
    pub(super) fn has(&self, flags: i32) -> bool {
        i32::from(self.flags) & flags == flags
    }

    /// The address family, the first byte of every body.
    pub(super) fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or(0)
    }

    /// The fixed part of the body. EINVAL if it is cut short.
    pub(super) fn fixed<const N: usize>(&self) -> Result<&'a [u8; N], Refusal> {
        self.body.first_chunk().ok_or(Refusal::from(Errno::INVAL))
    }

    /// The attributes behind a fixed part of so many bytes. As the kernel does for requests of this age, what is malformed ends them.
    pub(super) fn attributes(&self, fixed: usize) -> Attributes<'a> {
        Attributes::read(self.body.get(fixed.next_multiple_of(4)..).unwrap_or_default())
    }
}

/// The `at`-th four bytes of a fixed part.
pub(super) fn word(fixed: &[u8], at: usize) -> u32 {
    fixed.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// Attributes by their type; of several of one type the last counts.
#[derive(Default)]
pub(super) struct Attributes<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Attributes<'a> {
    fn read(raw: &'a [u8]) -> Attributes<'a> {
        let value = |(kind, length, raw): (u16, u16, &'a [u8])| Some((kind, raw.get(4..usize::from(length))?));
        let whole = NlasIterator::new(raw).map_while(Result::ok);
        Attributes(whole.filter_map(|a| value((a.kind(), a.length(), a.into_inner()))).collect())
    }

    pub(super) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.0.iter().rev().find(|(known, _)| *known == kind).map(|(_, value)| *value)
    }

    pub(super) fn has(&self, kind: u16) -> bool {
        self.get(kind).is_some()
    }

    /// The attributes within one.
    pub(super) fn nested(&self, kind: u16) -> Option<Attributes<'a>> {
        self.get(kind).map(Attributes::read)
    }

    fn number<const N: usize>(&self, kind: u16) -> Result<Option<[u8; N]>, Refusal> {
        match self.get(kind) {
            None => Ok(None),
            Some(value) => match value.first_chunk() {
                Some(number) => Ok(Some(*number)),
                None => Err(Refusal::new(Errno::RANGE, "Attribute failed policy validation")),
            },
        }
    }

    pub(super) fn u8(&self, kind: u16) -> Result<Option<u8>, Refusal> {
        Ok(self.number(kind)?.map(u8::from_ne_bytes))
    }

    pub(super) fn u16(&self, kind: u16) -> Result<Option<u16>, Refusal> {
        Ok(self.number(kind)?.map(u16::from_ne_bytes))
    }

    pub(super) fn u32(&self, kind: u16) -> Result<Option<u32>, Refusal> {
        Ok(self.number(kind)?.map(u32::from_ne_bytes))
    }

    /// An address of a family. EINVAL for one of the wrong length.
    pub(super) fn address(&self, kind: u16, family: i32) -> Result<Option<IpAddr>, Refusal> {
        let Some(raw) = self.get(kind) else { return Ok(None) };
        let address = match (family, raw.len()) {
            (libc::AF_INET, 4..) => raw.first_chunk().map(|b: &[u8; 4]| Ipv4Addr::from(*b).into()),
            (libc::AF_INET6, 16..) => raw.first_chunk().map(|b: &[u8; 16]| Ipv6Addr::from(*b).into()),
            _ => None,
        };
        address.map(Some).ok_or(Refusal::from(Errno::INVAL))
    }

    /// A string, which may or may not end with a zero.
    pub(super) fn text(&self, kind: u16) -> Option<&'a [u8]> {
        self.get(kind).map(|raw| raw.split(|b| *b == 0).next().unwrap_or_default())
    }
}
