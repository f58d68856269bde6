//! The options of neighbour discovery: RFC 4861 §4.6, routes (RFC 4191 §2.3), DNS (RFC 8106 §5) and the nonce (RFC 3971 §5.3.2).
//!
//! An option of length 0 or beyond the message's end condemns the message (RFC 4861 §4.6); one of a known kind whose
//! content is impossible is left out, as one that nobody knows ([`NdpOption::Other`]).

use core::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::domain_name::DomainNameIter;
use crate::icmpv6::fill_checksum;
use crate::ndp::RouterPreference;
use crate::{MacAddr, Malformed};

/// A lifetime in seconds that never ends.
pub const FOREVER: u32 = u32::MAX;

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const PREFIX_INFORMATION: u8 = 3;
const REDIRECTED_HEADER: u8 = 4;
const MTU: u8 = 5;
const NONCE: u8 = 14;
const ROUTE_INFORMATION: u8 = 24;
const DNS_SERVERS: u8 = 25;
const SEARCH_LIST: u8 = 31;

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdpOption<'a> {
    /// The sender's link-layer address.
    SourceLinkLayer(MacAddr),
    /// The target's link-layer address.
    TargetLinkLayer(MacAddr),
    /// A prefix of the link, or of addresses.
    Prefix(&'a PrefixInformation),
    /// The start of the packet that caused a redirect; padding may follow it.
    RedirectedHeader(&'a [u8]),
    /// The link's MTU in bytes.
    Mtu(u32),
    /// What an answer repeats, or a probe, to be known again (RFC 7527 §4.1).
    Nonce(&'a [u8]),
    /// A route by the sender (RFC 4191 §2.3).
    Route(RouteInformation),
    /// Name servers (RFC 8106 §5.1).
    DnsServers(DnsServers<'a>),
    /// Domains to search names in (RFC 8106 §5.2).
    SearchList(SearchList<'a>),
    /// An option that we do not know, or one that we know, of a content that it cannot have: to be ignored.
    Other {
        /// The option's number.
        kind: u8,
        /// What follows number and length.
        data: &'a [u8],
    },
}

/// The 32 bytes of a prefix information option (RFC 4861 §4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PrefixInformation {
    kind: u8,
    length: u8,
    prefix_len: u8,
    flags: u8,
    valid: U32,
    preferred: U32,
    reserved: [u8; 4],
    prefix: [u8; 16],
}

impl PrefixInformation {
    const ON_LINK: u8 = 0x80;
    const AUTONOMOUS: u8 = 0x40;

    /// An option; `prefix_len` is at most 128, the lifetimes `valid` and `preferred` are in seconds or [`FOREVER`].
    pub fn new(prefix: Ipv6Addr, prefix_len: u8, on_link: bool, autonomous: bool, valid: u32, preferred: u32) -> Self {
        let flag = |bit, set| if set { bit } else { 0 };
        Self {
            kind: PREFIX_INFORMATION,
            length: 4,
            prefix_len: prefix_len.min(128),
            flags: flag(Self::ON_LINK, on_link) | flag(Self::AUTONOMOUS, autonomous),
            valid: U32::new(valid),
            preferred: U32::new(preferred),
            reserved: [0; 4],
            prefix: prefix.octets(),
        }
    }

    /// The prefix; bits beyond its length are zero.
    pub fn prefix(&self) -> Ipv6Addr {
        mask(self.prefix.into(), self.prefix_len)
    }

    /// The bits of the prefix, 0 to 128.
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether its addresses are neighbours.
    pub fn on_link(&self) -> bool {
        self.flags & Self::ON_LINK != 0
    }

    /// Whether addresses may be made from it (RFC 4862 §5.5.3).
    pub fn autonomous(&self) -> bool {
        self.flags & Self::AUTONOMOUS != 0
    }

    /// How long the prefix and its addresses are valid, in seconds or [`FOREVER`].
    pub fn valid(&self) -> u32 {
        self.valid.get()
    }

    /// How long its addresses are preferred, in seconds or [`FOREVER`]; a lie if longer than they are valid.
    pub fn preferred(&self) -> u32 {
        self.preferred.get()
    }
}

/// A route by the router that says so (RFC 4191 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteInformation {
    /// The prefix that it leads to; bits beyond its length are zero.
    pub prefix: Ipv6Addr,
    /// The bits of the prefix, 0 to 128.
    pub prefix_len: u8,
    /// How much it is to be preferred to another router's.
    pub preference: RouterPreference,
    /// How long it holds, in seconds or [`FOREVER`]; 0: no longer.
    pub lifetime: u32,
}

/// Name servers (RFC 8106 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsServers<'a> {
    /// How long they may be used, in seconds or [`FOREVER`]; 0: no longer.
    pub lifetime: u32,
    servers: &'a [[u8; 16]],
}

impl<'a> DnsServers<'a> {
    /// Their addresses, one at least.
    pub fn servers(&self) -> impl ExactSizeIterator<Item = Ipv6Addr> + use<'a> {
        self.servers.iter().map(|&octets| octets.into())
    }
}

/// Domains to search names in (RFC 8106 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchList<'a> {
    /// How long they may be used, in seconds or [`FOREVER`]; 0: no longer.
    pub lifetime: u32,
    names: &'a [u8],
}

impl<'a> SearchList<'a> {
    /// Their names, one at least.
    pub fn names(&self) -> DomainNameIter<'a> {
        DomainNameIter::new(self.names)
    }
}

/// `address` with the bits beyond the first `len` set to zero.
fn mask(address: Ipv6Addr, len: u8) -> Ipv6Addr {
    let beyond = u128::MAX.checked_shr(len.into()).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & !beyond)
}

/// A whole option, number and length included; `None` if its content is impossible.
fn read(option: &[u8]) -> Option<NdpOption<'_>> {
    let (&[kind, _], data) = option.split_first_chunk()?;
    Some(match (kind, data) {
        (SOURCE_LINK_LAYER, _) => NdpOption::SourceLinkLayer(MacAddr(data.try_into().ok()?)),
        (TARGET_LINK_LAYER, _) => NdpOption::TargetLinkLayer(MacAddr(data.try_into().ok()?)),
        (PREFIX_INFORMATION, _) => {
            let prefix = PrefixInformation::ref_from_bytes(option).ok()?;
            NdpOption::Prefix(Some(prefix).filter(|prefix| prefix.prefix_len <= 128)?)
        }
        (REDIRECTED_HEADER, [_, _, _, _, _, _, packet @ ..]) => NdpOption::RedirectedHeader(packet),
        (MTU, &[_, _, a, b, c, d]) => NdpOption::Mtu(u32::from_be_bytes([a, b, c, d])),
        (NONCE, nonce) => NdpOption::Nonce(nonce),
        (ROUTE_INFORMATION, &[prefix_len, flags, a, b, c, d, ref rest @ ..]) => {
            let mut prefix = [0; 16];
            prefix.get_mut(..rest.len())?.copy_from_slice(rest);
            NdpOption::Route(RouteInformation {
                prefix: mask(prefix.into(), prefix_len),
                prefix_len: Some(prefix_len).filter(|&len| usize::from(len) <= rest.len() * 8)?,
                preference: RouterPreference::from_flags(flags)?,
                lifetime: u32::from_be_bytes([a, b, c, d]),
            })
        }
        (DNS_SERVERS, &[_, _, a, b, c, d, ref rest @ ..]) => match rest.as_chunks() {
            ([], _) | (_, [_, ..]) => return None,
            (servers, []) => NdpOption::DnsServers(DnsServers { lifetime: u32::from_be_bytes([a, b, c, d]), servers }),
        },
        (SEARCH_LIST, &[_, _, a, b, c, d, ref names @ ..]) => {
            let lifetime = u32::from_be_bytes([a, b, c, d]);
            let mut all = DomainNameIter::new(names);
            let some = all.by_ref().count() > 0;
            NdpOption::SearchList(Some(SearchList { lifetime, names }).filter(|_| some && all.is_whole())?)
        }
        _ => return None,
    })
}

/// The options of a message, each of a length that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdpOptions<'a> {
    bytes: &'a [u8],
}

impl<'a> NdpOptions<'a> {
    /// Checks the lengths of the options in `bytes`, what follows the fixed part of a message.
    ///
    /// # Errors
    /// [`Malformed::BadOption`] where a length is 0 or lies.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut options = NdpOptionIter { rest: bytes };
        while options.split().is_some() {}
        if options.rest.is_empty() { Ok(Self { bytes }) } else { Err(Malformed::BadOption) }
    }

    /// The options one by one.
    pub fn iter(&self) -> NdpOptionIter<'a> {
        NdpOptionIter { rest: self.bytes }
    }

    /// The sender's link-layer address.
    pub fn source_link_layer(&self) -> Option<MacAddr> {
        self.iter().find_map(|option| if let NdpOption::SourceLinkLayer(mac) = option { Some(mac) } else { None })
    }

    /// The target's link-layer address.
    pub fn target_link_layer(&self) -> Option<MacAddr> {
        self.iter().find_map(|option| if let NdpOption::TargetLinkLayer(mac) = option { Some(mac) } else { None })
    }

    /// What an answer repeats, or a probe, to be known again.
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.iter().find_map(|option| if let NdpOption::Nonce(nonce) = option { Some(nonce) } else { None })
    }
}

impl<'a> IntoIterator for NdpOptions<'a> {
    type Item = NdpOption<'a>;
    type IntoIter = NdpOptionIter<'a>;

    fn into_iter(self) -> NdpOptionIter<'a> {
        self.iter()
    }
}

/// The options of a message, one by one.
#[derive(Clone, Debug)]
pub struct NdpOptionIter<'a> {
    rest: &'a [u8],
}

impl<'a> NdpOptionIter<'a> {
    /// The next whole option. What cannot be one stays.
    fn split(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(*self.rest.get(1)?) * 8;
        let (option, rest) = self.rest.split_at_checked(len).filter(|_| len > 0)?;
        self.rest = rest;
        Some(option)
    }
}

impl<'a> Iterator for NdpOptionIter<'a> {
    type Item = NdpOption<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let option = self.split()?;
        let other = || Some(NdpOption::Other { kind: *option.first()?, data: option.get(2..)? });
        read(option).or_else(other)
    }
}

/// Writes a message with its options and its checksum.
#[derive(Debug)]
pub struct NdpWriter<'a> {
    out: &'a mut [u8],
    len: usize,
    /// Whether everything had room so far.
    room: bool,
}

impl<'a> NdpWriter<'a> {
    /// Begins at the start of `out` with `message`, the fixed part.
    pub fn new(out: &'a mut [u8], message: &(impl IntoBytes + Immutable)) -> Self {
        let mut writer = Self { out, len: 0, room: true };
        writer.put(message.as_bytes());
        writer
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.len..).and_then(|rest| rest.get_mut(..bytes.len())) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.room = false,
        }
    }

    /// Adds an option that `parts` make, and zeros up to a multiple of 8 bytes.
    fn option(mut self, kind: u8, parts: &[&[u8]]) -> Self {
        let len = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
        let words = len.div_ceil(8);
        match u8::try_from(words) {
            Ok(words) => self.put(&[kind, words]),
            Err(_) => self.room = false,
        }
        for part in parts {
            self.put(part);
        }
        self.put(&[0; 7][..(words * 8 - len).min(7)]);
        self
    }

    /// Adds the sender's link-layer address.
    pub fn source_link_layer(self, mac: MacAddr) -> Self {
        self.option(SOURCE_LINK_LAYER, &[&mac.0])
    }

    /// Adds the target's link-layer address.
    pub fn target_link_layer(self, mac: MacAddr) -> Self {
        self.option(TARGET_LINK_LAYER, &[&mac.0])
    }

    /// Adds a nonce.
    pub fn nonce(self, nonce: [u8; 6]) -> Self {
        self.option(NONCE, &[&nonce])
    }

    /// Adds a prefix.
    pub fn prefix(mut self, prefix: &PrefixInformation) -> Self {
        self.put(prefix.as_bytes());
        self
    }

    /// Adds the link's MTU in bytes.
    pub fn mtu(self, mtu: u32) -> Self {
        self.option(MTU, &[&[0; 2], &mtu.to_be_bytes()])
    }

    /// Adds a route by the sender.
    pub fn route(self, route: &RouteInformation) -> Self {
        let octets = mask(route.prefix, route.prefix_len).octets();
        let prefix_len = route.prefix_len.min(128);
        let prefix = &octets[..usize::from(prefix_len).div_ceil(64) * 8];
        let fixed = [prefix_len, route.preference.flags()];
        self.option(ROUTE_INFORMATION, &[&fixed, &route.lifetime.to_be_bytes(), prefix])
    }

    /// Adds name servers, at least one and at most 127, good for `lifetime` seconds or [`FOREVER`].
    pub fn dns_servers(mut self, lifetime: u32, servers: &[Ipv6Addr]) -> Self {
        self.room &= !servers.is_empty() && servers.len() <= 127;
        self.put(&[DNS_SERVERS, (1 + 2 * servers.len()) as u8, 0, 0]);
        self.put(&lifetime.to_be_bytes());
        for server in servers {
            self.put(&server.octets());
        }
        self
    }

    /// Adds domains to search names in, good for `lifetime` seconds or [`FOREVER`]; `names` as on the wire: each ends
    /// with a zero byte (RFC 1035 §3.1).
    pub fn search_list(self, lifetime: u32, names: &[u8]) -> Self {
        self.option(SEARCH_LIST, &[&[0; 2], &lifetime.to_be_bytes(), names])
    }

    /// Adds the start of the packet that caused a redirect.
    pub fn redirected_header(self, packet: &[u8]) -> Self {
        self.option(REDIRECTED_HEADER, &[&[0; 6], packet])
    }

    /// Computes the checksum for a message from `src` to `dst`, and returns the message's length; `None` if not everything had
    /// room.
    pub fn finish(self, src: Ipv6Addr, dst: Ipv6Addr) -> Option<usize> {
        let message = self.out.get_mut(..self.len).filter(|_| self.room)?;
        fill_checksum(src, dst, message);
        Some(self.len)
    }
}
